/**
 * The unit that fantail comes with (tools/fantail@.service), for this installation and a
 * configuration file. Its first line has the hash of the rest, so that one that somebody has
 * changed is known.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parse } from 'node:path';
import { Failure } from '../../domain/errors.js';
import { UNIT_FILE, version } from '../../domain/installation.js';

export const UNIT_NAME = 'fantail@.service';

export interface Program {
  /** Paths of Node and of fantail's main.js. */
  readonly node: string;
  readonly main: string;
}

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');

/** Neither specifier nor variable (systemd.service(5)). */
const literal = (text: string) => text.replaceAll('%', '%%').replaceAll('$', '$$$$');

/** A word of ExecStart=, quoted. */
export function execWord(text: string): string {
  return quoted(literal(text));
}

/** The first one: no variable is looked for in it, and some signs it may not have. */
export function execProgram(text: string): string {
  if (/["'\\]/.test(text))
    throw new Failure(`systemd starts no program with quotes in its name: ${text}`);
  return quoted(text.replaceAll('%', '%%'));
}

const quoted = (text: string) =>
  /^[\w@%$+=:,./-]+$/.test(text) ? text : `"${text.replace(/[\\"]/g, (sign) => `\\${sign}`)}"`;

/** `/etc/fantail/eth1.yaml` → that of whichever instance, in its place. */
function configWord(config: string): string {
  const { dir, ext } = parse(config);
  return quoted(`${literal(dir)}/%i${literal(ext)}`);
}

/** One line of the unit becomes another; there must be that one. */
function replaced(text: string, line: RegExp, by: string): string {
  if (!line.test(text)) throw new Failure(`${UNIT_FILE} is not the unit that fantail comes with`);
  return text.replace(line, () => by);
}

export function unitOf(config: string, { node, main }: Program): string {
  const { dir, ext } = parse(config);
  const start = `${execProgram(node)} ${execWord(main)} up --config ${configWord(config)}`;
  const head = `# fantail@NAME: fantail up --config ${dir}/NAME${ext}, under every restriction of systemd that it can
# live with.

[Unit]`;
  let body = readFileSync(UNIT_FILE, 'utf8');
  body = replaced(body, /^(#.*\n)+\n\[Unit\]/, head);
  body = replaced(body, /^EnvironmentFile=.*\n/m, '');
  body = replaced(body, /^ExecStart=.*$/m, `ExecStart=${start}`);
  return `# Written by fantail ${version} install-service; as it was: sha256 ${hashOf(body)}\n${body}`;
}

/** Whether a unit is as it was written, by whatever version. */
export function isAsWritten(unit: string): boolean {
  const [, hash, body = ''] =
    /^# Written by fantail \S+ install-service; as it was: sha256 ([0-9a-f]{64})\n([\s\S]*)$/.exec(
      unit,
    ) ?? [];
  return hash === hashOf(body);
}
