/**
 * A finding's ways out as lines that can be run where doctor was: its shell, its rights, its words.
 */
import { accessSync, constants, realpathSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { type Finding, quoted } from '../domain/finding.js';

export interface Shell {
  /** Another namespace, where the network is. */
  readonly netns: string | null;
  readonly isRoot: boolean;
  readonly hasSudo: boolean;
  /** How fantail is called. */
  readonly program: string;
  /** Behind `doctor`: interface, address, port and flags, most of them as `up` takes them. */
  readonly words: readonly string[];
  /** A feed is among the words, so that `up` can be started with them. */
  readonly isStart: boolean;
}

/** Words of doctor that `up` has not, or means otherwise; all take a value but --json. */
const NOT_OF_UP = ['--json', '--source', '--control', '--token-file', '--tls-ca'];

/** Lines that mend it, each by itself, the first the shortest way; none where there is none. */
export function linesOf(finding: Finding, shell: Shell): string[] {
  const { cure, flags, isRights, isOfNetwork } = finding;
  const lines: string[] = [];
  if (cure !== null) lines.push(withRights(isOfNetwork ? inNetwork(cure, shell) : cure, shell));
  if (flags !== null && shell.isStart) lines.push(upLine(shell, flags));
  // root that lacks rights has nobody to ask from here
  if (isRights && !shell.isRoot && shell.isStart) lines.push(withRights(upLine(shell), shell));
  return lines;
}

/** What to do where there is no line. */
export function insteadOf({ flags, instead }: Finding): string | null {
  return flags === null ? instead : `start fantail with ${flags}`;
}

/** `fantail up` with the words that were given, and other flags in their place. */
export function upLine({ program, words }: Shell, flags = ''): string {
  const instead = flags.split(' ').filter((word) => word.startsWith('--'));
  const kept = without(words, [...NOT_OF_UP, ...instead]);
  return [program, 'up', ...kept.map(quoted), ...(flags === '' ? [] : [flags])].join(' ');
}

function without(words: readonly string[], flags: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    const [flag = '', value] = word.split('=');
    if (!flags.includes(flag)) kept.push(word);
    else if (flag !== '--json' && value === undefined) i++;
  }
  return kept;
}

function inNetwork(line: string, { netns }: Shell): string {
  if (netns === null) return line;
  if (!/[;&|<>$]/.test(line))
    return line.startsWith('ip ')
      ? `ip -n ${netns} ${line.slice(3)}`
      : `ip netns exec ${netns} ${line}`;
  return `ip netns exec ${netns} sh -c ${quoted(line)}`;
}

function withRights(line: string, { isRoot, hasSudo }: Shell): string {
  if (isRoot) return line;
  if (!hasSudo) return `su -c ${quoted(line)}`;
  return /[;&|<>$]/.test(line) ? `sudo sh -c ${quoted(line)}` : `sudo ${line}`;
}

/** Whether a program of that name is in the path; with `file`, whether it is that one. */
export function isInPath(name: string, file?: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return file === undefined || realpathSync(join(folder, name)) === realpathSync(file);
    } catch {
      return false;
    }
  });
}

/** How this program is called from the same shell. */
export function callOf([node = 'node', script = 'fantail']: readonly string[]): string {
  if (isInPath('fantail', script)) return 'fantail';
  return basename(script) === 'fantail' ? quoted(script) : `${quoted(node)} ${quoted(script)}`;
}
