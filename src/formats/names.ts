/** What the name of an object says, whatever the format. */

/** Record indexes, markers and notes that lie beside data. `_DSC0001.jpg` is what cameras write, so an underscore alone hides nothing. */
const NO_DATA = /\.(idx|index)$|^\.|^_[^.]*$|^_index\.|^(readme|licen[sc]e)(\.(md|txt|rst|html))?$/i;

/** The part after the last slash. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The name of the folder an object lies in, or "" at the root of the store. */
export function folderName(path: string): string {
  const end = path.lastIndexOf("/");
  return end < 0 ? "" : path.slice(path.lastIndexOf("/", end - 1) + 1, end);
}

/**
 * False for hidden objects, folder markers, record indexes, `_SUCCESS` and its like, README and LICENSE.
 * The object's own name decides: a dataset may well lie below a hidden folder.
 */
export function isData(path: string): boolean {
  const name = baseName(path);
  return name !== "" && !NO_DATA.test(name);
}

/** Paths at which the record index of a shard may lie: `a.tar.idx`, `a.tar.index`, `a.idx`, `a.index`. */
export function sidecarPaths(path: string): readonly string[] {
  const stem = path.replace(/\.[^./]+$/, "");
  return (stem === path ? [path] : [path, stem]).flatMap((base) => [`${base}.idx`, `${base}.index`]);
}
