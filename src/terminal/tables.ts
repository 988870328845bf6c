/** Text tables for people: columns as wide as their widest cell, numbers to the right. */

export type Cell = string | number;

/** The head line and a line a row, two spaces between columns. */
export function tableLines(head: readonly string[], rows: readonly (readonly Cell[])[]): string[] {
  const texts = rows.map((row) => row.map(cellText));
  const widths = head.map((name, column) => {
    return Math.max(name.length, ...texts.map((row) => row[column]?.length ?? 0));
  });
  const isNumber = head.map(
    (_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'),
  );
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, column) => {
      const width = widths[column] ?? 0;
      return isNumber[column] ? cell.padStart(width) : cell.padEnd(width);
    });
    return padded.join('  ').trimEnd();
  };
  return [line(head), ...texts.map(line)];
}

/** Of a table that is drawn anew again and again, so that its columns stay where they are. */
export interface Column {
  readonly title: string;
  /** Characters at least, the gap to the next one or the one before among them. */
  readonly width: number;
  /** To the left; numbers go to the right. */
  readonly isText?: boolean;
}

export interface TableRow {
  /** Of the first columns; the others stay empty. */
  readonly cells: readonly string[];
  /** Behind these, across the columns that are left. */
  readonly remark?: string;
}

/**
 * The same for a terminal: the head line and a line a row, none longer than `width`. Columns that
 * do not fit are left out, the last ones first, so that no number loses a digit.
 */
export function fittedLines(
  columns: readonly Column[],
  rows: readonly TableRow[],
  width: number,
): string[] {
  const widths = columns.map(({ title, width: least }, column) =>
    Math.max(least, title.length + 1, ...rows.map(({ cells }) => (cells[column]?.length ?? 0) + 1)),
  );
  let sum = 0;
  const tooMany = widths.findIndex((each) => {
    sum += each;
    return sum > width;
  });
  const shown = columns.slice(0, tooMany < 0 ? columns.length : tooMany);
  const line = ({ cells, remark = '' }: TableRow) => {
    const padded = shown.slice(0, cells.length).map(({ isText = false }, column) => {
      const cell = cells[column] ?? '';
      return isText ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
    });
    // the remark says more than the last columns
    const textOf = () => `${padded.join('').trimEnd()}  ${remark}`.trimEnd();
    while (padded.length > 1 && textOf().length > width) padded.pop();
    return textOf();
  };
  return [line({ cells: columns.map(({ title }) => title) }), ...rows.map(line)];
}

/** 1234567 → 1,234,567. */
export function grouped(number: number): string {
  return number.toLocaleString('en-US', { maximumFractionDigits: 1 });
}

function cellText(cell: Cell): string {
  return typeof cell === 'number' ? grouped(cell) : cell;
}
