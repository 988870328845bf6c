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

/** 1234567 → 1,234,567. */
export function grouped(number: number): string {
  return number.toLocaleString('en-US', { maximumFractionDigits: 1 });
}

function cellText(cell: Cell): string {
  return typeof cell === 'number' ? grouped(cell) : cell;
}
