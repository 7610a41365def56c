/** Results as people read them: a table in the terminal and in docs/benchmarks.md, and a chart a figure. */
import * as echarts from "echarts";
import type { BarResult, Spread, Summary, SummaryRow } from "./summary.js";

const MARKS = { begin: "<!-- results: begin, written by `npm run bench` -->", end: "<!-- results: end -->" };

function withSpread({ median, min, max }: Spread, digits: number): string {
  const text = median.toFixed(digits);
  return min === max ? text : `${text} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

function bound({ atLeast, atMost }: BarResult): string {
  return [atLeast === undefined ? "" : `≥ ${atLeast}`, atMost === undefined ? "" : `≤ ${atMost}`]
    .filter((text) => text !== "")
    .join(" and ");
}

function resultCells({ columns, rows }: Summary): string[][] {
  const cell = (row: SummaryRow, figure: string, digits: number) =>
    row.figures[figure] === undefined ? "" : withSpread(row.figures[figure], digits);
  return [
    ["subject", "phase", ...columns.map(({ title }) => title)],
    ...rows.map((row) => [row.subject, row.phase, ...columns.map(({ figure, digits }) => cell(row, figure, digits))]),
  ];
}

function barCells({ bars }: Summary): string[][] {
  return [
    ["bar", "bound", "measured", ""],
    ...bars.map((bar) => [bar.name, bound(bar), withSpread(bar.value, 3), bar.met ? "met" : "NOT MET"]),
  ];
}

/** Columns padded to their widest cell. */
function aligned(cells: readonly (readonly string[])[]): string {
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) => `  ${row.map((text, i) => text.padEnd(widths[i]!)).join("  ")}`.trimEnd();
  return [line(cells[0]!), line(widths.map((width) => "-".repeat(width))), ...cells.slice(1).map(line)].join("\n");
}

function markdown(cells: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]) => `| ${row.join(" | ")} |`;
  return [line(cells[0]!), line(cells[0]!.map(() => "---")), ...cells.slice(1).map(line)].join("\n");
}

export function terminalTable(summary: Summary): string {
  const tables = [aligned(resultCells(summary))];
  if (summary.bars.length > 0) tables.push(aligned(barCells(summary)));
  return tables.join("\n\n");
}

/** docs/benchmarks.md with the results between its marks replaced. */
export function withResults(page: string, summaries: readonly Summary[]): string {
  const [begin, end] = [page.indexOf(MARKS.begin), page.indexOf(MARKS.end)];
  if (begin < 0 || end < begin) throw new Error("The page has no marks for the results");
  const sections = summaries.map((summary) => {
    const { cpu, cores, node } = summary.machine;
    const charts = chartNames(summary).map(({ file, column }) => `![${summary.title}: ${column.title}](../bench/results/${file})`);
    const parts = [`### ${summary.scenario}`, `${summary.title}. ${cpu}, ${cores} cores, Node ${node}.`, markdown(resultCells(summary))];
    if (summary.bars.length > 0) parts.push(markdown(barCells(summary)));
    return [...parts, ...charts].join("\n\n");
  });
  return `${page.slice(0, begin + MARKS.begin.length)}\n\n${sections.join("\n\n")}\n\n${page.slice(end)}`;
}

function chartNames({ scenario, columns }: Summary) {
  return columns.filter(({ chart }) => chart).map((column) => ({ file: `${scenario}-${column.figure}.svg`, column }));
}

/** File name → SVG text. */
export function charts(summary: Summary): Map<string, string> {
  return new Map(chartNames(summary).map(({ file, column }) => [file, barChart(summary, column)]));
}

/** Height of one bar with its gap, and of what stands above and below, pixels. */
const ROW_HEIGHT = 26;
const FRAME_HEIGHT = 110;
const WIDTH = 860;
/** Without a screen echarts cannot measure text: of the widest common sans serif at 12 px, pixels. */
const LETTER_WIDTH = 7.2;
const LABEL_GAP = 24;

/** What tells the rows apart: a phase only where there are several. */
function rowLabels(rows: readonly SummaryRow[]): string[] {
  const onePhase = new Set(rows.map(({ phase }) => phase)).size === 1;
  return rows.map(({ subject, phase }) => (onePhase || subject.endsWith(phase) ? subject : `${subject}, ${phase}`));
}

/** A bar a subject and phase: the median, with a line from the smallest to the largest round. */
function barChart(summary: Summary, { figure, title, digits }: Summary["columns"][number]): string {
  const rows = summary.rows.filter((row) => row.figures[figure] !== undefined);
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height: FRAME_HEIGHT + rows.length * ROW_HEIGHT });
  const subjects = [...new Set(rows.map(({ subject }) => subject))];
  const labels = rowLabels(rows);
  const left = Math.max(...labels.map(({ length }) => length)) * LETTER_WIDTH + LABEL_GAP;
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    title: {
      text: `${summary.scenario}: ${title}`,
      subtext: summary.title,
      left: 12,
      top: 8,
      textStyle: { fontSize: 15 },
      subtextStyle: { fontSize: 12 },
    },
    grid: { left, right: 110, top: 64, bottom: 34 },
    xAxis: { type: "value", axisLabel: { hideOverlap: true } },
    yAxis: { type: "category", inverse: true, data: labels, axisTick: { show: false } },
    series: [
      {
        type: "bar",
        barWidth: "60%",
        data: rows.map((row) => ({
          value: row.figures[figure]!.median,
          itemStyle: {
            color: row.subject.startsWith("millrace") ? "#1f6feb" : subjects.indexOf(row.subject) % 2 === 0 ? "#9aa7b4" : "#b9c3cc",
          },
        })),
      },
      {
        type: "custom",
        z: 3, // Before the bar, or only its upper half is seen.
        data: rows.map((row, i) => [row.figures[figure]!.min, row.figures[figure]!.max, i]),
        encode: { x: [0, 1], y: 2 },
        renderItem: (_: unknown, api: { value(i: number): number; coord(point: number[]): number[] }) => {
          const [from, to] = [api.coord([api.value(0), api.value(2)]), api.coord([api.value(1), api.value(2)])];
          const text = withSpread(rows[api.value(2)]!.figures[figure]!, digits).replace(/ \(.*/, "");
          return {
            type: "group",
            children: [
              { type: "line", shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, style: { stroke: "#24292f", lineWidth: 1.5 } },
              { type: "text", style: { text, x: to[0]! + 8, y: to[1], textVerticalAlign: "middle", fill: "#24292f", fontSize: 12 } },
            ],
          };
        },
      },
    ],
  } as echarts.EChartsCoreOption);
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
