/** Sentences that would be longer than a line. */

/**
 * Broken at spaces into lines of at most so many characters, unless a word is longer; all but the
 * first are indented.
 */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const isLong = line !== '' && line.length + 1 + word.length > width;
    if (isLong) lines.push(line);
    if (isLong) line = `  ${word}`;
    else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
