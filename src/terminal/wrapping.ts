/** Sentences on a terminal that is narrower than they are. */

/**
 * The line, and lines of `indent` spaces with what does not fit into `width` characters: broken at
 * spaces alone, so that a word that is longer than a line is longer than the width.
 */
export function wrapped(line: string, width: number, indent = 0): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > width) {
    const isFirst = lines.length === 0;
    const from = isFirst ? rest.length - rest.trimStart().length : indent;
    let at = rest.lastIndexOf(' ', width);
    if (at <= from) at = rest.indexOf(' ', Math.max(from, width));
    if (at < 0) break;
    lines.push(rest.slice(0, at).trimEnd());
    rest = ' '.repeat(indent) + rest.slice(at).trimStart();
  }
  return [...lines, rest];
}
