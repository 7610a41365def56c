/** Where an image is cut and how it is scaled: pure arithmetic on sizes, done before any pixel is read. */
import { MillraceError } from "../errors.js";

export interface Size {
  readonly width: number;
  readonly height: number;
}
export interface Region extends Size {
  readonly left: number;
  readonly top: number;
}
/** In this order: cut `before` from the image, stretch that to `scale`, cut `after` from the result; where `after` stands out, it is black. */
export interface CropPlan {
  readonly before?: Region;
  readonly scale: Size;
  readonly after?: Region;
}
/** A random part of the image, as torchvision's RandomResizedCrop takes it. */
export interface RandomPart {
  /** Part of the image's area, smallest and largest. */
  scale: readonly [number, number];
  /** Width ÷ height, smallest and largest. Default 3/4 to 4/3. */
  ratio?: readonly [number, number] | undefined;
}
/** torchvision's: how often a random part is drawn before the middle is taken instead. */
const TRIES = 10;
const DEFAULT_RATIO: readonly [number, number] = [3 / 4, 4 / 3];

/**
 * Scales the image, keeping its proportions, until its shorter side is `shorter` pixels, or until it just covers `target`
 * where `shorter` is undefined; then cuts `target` from the middle or from anywhere.
 */
export function coverPlan(image: Size, target: Size, shorter: number | undefined, random: (() => number) | undefined): CropPlan {
  const factor =
    shorter === undefined
      ? Math.max(target.width / image.width, target.height / image.height)
      : shorter / Math.min(image.width, image.height);
  const width = Math.max(target.width, Math.round(image.width * factor));
  const height = Math.max(target.height, Math.round(image.height * factor));
  const at = (room: number) => (random === undefined ? room >> 1 : Math.floor(random() * (room + 1)));
  return { scale: { width, height }, after: { left: at(width - target.width), top: at(height - target.height), ...target } };
}

/** Scales the image, keeping its proportions, until it just fits into `target`, in whose middle it stands. */
export function containPlan(image: Size, target: Size): CropPlan {
  const factor = Math.min(target.width / image.width, target.height / image.height);
  const width = Math.min(target.width, Math.max(1, Math.round(image.width * factor)));
  const height = Math.min(target.height, Math.max(1, Math.round(image.height * factor)));
  return {
    scale: { width, height },
    after: { left: -((target.width - width) >> 1), top: -((target.height - height) >> 1), ...target },
  };
}

/** Cuts a random part of the image and stretches it to `target` (torchvision, RandomResizedCrop.get_params). */
export function randomPartPlan(image: Size, target: Size, part: RandomPart, random: () => number): CropPlan {
  const [lowest, highest] = part.ratio ?? DEFAULT_RATIO;
  const between = (low: number, high: number) => low + (high - low) * random();
  for (let i = 0; i < TRIES; i++) {
    const area = image.width * image.height * between(part.scale[0], part.scale[1]);
    const ratio = Math.exp(between(Math.log(lowest), Math.log(highest)));
    const width = Math.round(Math.sqrt(area * ratio));
    const height = Math.round(Math.sqrt(area / ratio));
    if (width < 1 || height < 1 || width > image.width || height > image.height) continue;
    const left = Math.floor(random() * (image.width - width + 1));
    return { before: { left, top: Math.floor(random() * (image.height - height + 1)), width, height }, scale: target };
  }
  return { before: middle(image, lowest, highest), scale: target };
}

/** The largest part in the middle whose proportions are allowed. */
function middle(image: Size, lowest: number, highest: number): Region {
  const ratio = Math.min(highest, Math.max(lowest, image.width / image.height));
  const width = Math.max(1, Math.min(image.width, Math.round(image.height * ratio)));
  const height = Math.max(1, Math.min(image.height, Math.round(image.width / ratio)));
  return { left: (image.width - width) >> 1, top: (image.height - height) >> 1, width, height };
}

/** Throws MILLRACE_CONFIG where a range is not ascending, positive and, for the scale, at most 1. */
export function checkRandomPart(part: RandomPart): void {
  const isRange = (range: readonly number[]) => range.length === 2 && range[0]! > 0 && range[1]! >= range[0]! && Number.isFinite(range[1]);
  if (!Array.isArray(part.scale) || !isRange(part.scale) || part.scale[1] > 1)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `crop.scale: expected [smallest, largest] part of the area, above 0 to 1, got ${JSON.stringify(part.scale)}`,
    );
  if (part.ratio !== undefined && !(Array.isArray(part.ratio) && isRange(part.ratio)))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `crop.ratio: expected [smallest, largest] width ÷ height above 0, got ${JSON.stringify(part.ratio)}`,
    );
}
