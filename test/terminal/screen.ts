/**
 * A program on a pseudo-terminal (script, of util-linux), and what a person would see there, of
 * all that it has written.
 */
import { Program } from '../rig/program.js';

/** Of a terminal that does not say. */
const COLUMNS = 80;

/**
 * `line`: of a shell, with `exec` before what it ends with: a Ctrl-C reaches a shell that waits as
 * well, and dash ends with 130 then, whatever its program said. Stdin, stdout and stderr are the
 * terminal.
 */
export function onTerminal(line: string, environment: Readonly<Record<string, string>> = {}) {
  return new Program('script', ['-qec', line, '/dev/null'], { environment });
}

/** A word that the shell leaves as it is. */
export const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

/**
 * Lines as they stand at the end, however long they are; CR, LF and EL (ECMA-48) are understood,
 * anything else throws.
 */
export function screenOf(written: string): string[] {
  const lines: string[] = [''];
  let column = 0;
  const put = (text: string) => {
    const line = (lines.at(-1) ?? '').padEnd(column);
    lines[lines.length - 1] = line.slice(0, column) + text + line.slice(column + text.length);
    column += text.length;
  };
  for (const [part] of visible(written).matchAll(/\r|\n|␛\[K|␛.{0,3}|[^\r\n␛]+/g))
    if (part === '\r') column = 0;
    else if (part === '\n') lines.push('');
    else if (part === '␛[K') lines[lines.length - 1] = (lines.at(-1) ?? '').slice(0, column);
    else if (part.startsWith('␛')) throw new Error(`nobody knows ${JSON.stringify(part)}`);
    else put(part);
  return lines.map((line) => line.trimEnd());
}

/** As people write it: the escape character is one that can be seen. */
export const visible = (written: string) => written.replaceAll('\u001b', '␛');

export interface ShownBar {
  readonly percent: number;
  /** The estimate; null: there was none. */
  readonly left: string | null;
  readonly note: string;
}

/** Every bar that it showed, in its order. */
export function shownBars(written: string): ShownBar[] {
  const bar = /\[[=-]{8,}\] (\d+) %(?:, ([\d:]+) left)?(?:, ([^\r\n␛]*))?/g;
  return [...visible(written).matchAll(bar)].map(([whole, percent, left = null, note = '']) => {
    if (whole.length >= COLUMNS) throw new Error(`it does not fit into a line: ${whole}`);
    return { percent: Number(percent), left, note };
  });
}
