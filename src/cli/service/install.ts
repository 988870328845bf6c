/** `fantail install-service`: writes the unit, shows it, takes it away; systemd is not asked. */
import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, parse, resolve } from 'node:path';
import { Failure, messageOf, UsageError } from '../../domain/errors.js';
import { programFile } from '../../domain/installation.js';
import { isAsWritten, type Program, UNIT_NAME, unitOf } from './unit.js';

export interface ServiceFlags {
  readonly config: string;
  readonly folder: string;
  readonly print?: boolean;
  readonly force?: boolean;
  readonly remove?: boolean;
}

/** Of a file's mode: others may enter a folder, or run a program; and read. */
const OTHERS_ENTER = 0o001;
const OTHERS_READ = 0o004;
/** What the unit hides, and by which setting. */
const HIDDEN = [
  ...['/home/', '/root/', '/run/user/'].map((folder) => ({ folder, by: 'ProtectHome=' })),
  ...['/tmp/', '/var/tmp/'].map((folder) => ({ folder, by: 'PrivateTmp=' })),
];
/** Of a name of systemd.unit(5), without what it would have to escape. */
const INSTANCE = /^[\w:.@-]+$/;
/** Stands for whatever an instance is called. */
const ANY = 'NAME';

export function installService({
  config,
  folder,
  print,
  force = false,
  remove,
}: ServiceFlags): void {
  const path = join(resolve(folder), UNIT_NAME);
  if (remove === true) {
    if (print === true) throw new UsageError('--print and --remove: one of them');
    removeUnit(path, force);
    return;
  }
  const file = resolve(config);
  const { name, ext } = parse(file);
  if (ext === '')
    throw new UsageError(`--config ${config}: a name with an ending, such as eth1.yaml`);
  if (!INSTANCE.test(name))
    throw new UsageError(
      `--config ${config}: systemd takes no instance ${name}; give the file a name of letters, digits and : _ . -`,
    );
  const program = { node: realpathSync(process.execPath), main: programFile('main.js') };
  const unit = unitOf(file, program);
  for (const problem of [...problemsOf(program), ...problemsOfConfig(file)])
    process.stderr.write(`fantail install-service: ${problem}\n`);
  if (print === true) {
    process.stdout.write(unit);
    return;
  }
  const before = read(path);
  if (before === unit) console.log(`${path} is as it should be`);
  else {
    if (before !== null && !isAsWritten(before) && !force) refuse(path, 'overwrite');
    write(path, unit);
    console.log(`wrote ${path}`);
  }
  const instance = name === ANY ? 'fantail@eth1' : `fantail@${name}`;
  const its = name === ANY ? `, once there is ${join(dirname(file), `eth1${ext}`)}` : '';
  console.log(`next${its}:\n  systemctl daemon-reload\n  systemctl enable --now ${instance}`);
}

function removeUnit(path: string, isForced: boolean): void {
  const before = read(path);
  if (before === null) {
    console.log(`${path} is not there`);
    return;
  }
  if (!isAsWritten(before) && !isForced) refuse(path, 'remove');
  // a link to a unit that is not there any more could not be taken back by systemctl
  const enabled = instancesIn(join(dirname(path), 'multi-user.target.wants'));
  if (enabled.length > 0 && !isForced) {
    const names = enabled.join(' ');
    throw new Failure(`enabled by it: ${names}; first: systemctl disable --now ${names}`);
  }
  attempt(`remove ${path}`, () => rmSync(path));
  console.log(`removed ${path}`);
  console.log(`next:\n  systemctl stop 'fantail@*'\n  systemctl daemon-reload`);
}

/** `fantail@eth1` of each that is started at boot. */
function instancesIn(wants: string): string[] {
  if (!existsSync(wants)) return [];
  const names = attempt(`read ${wants}`, () => readdirSync(wants));
  return names.filter((name) => /^fantail@.+\.service$/.test(name)).map((name) => parse(name).name);
}

function refuse(path: string, what: 'overwrite' | 'remove'): never {
  throw new Failure(
    `${path} was changed since it was written, or by another: compare it with --print, and ${what} it with --force`,
  );
}

function read(path: string): string | null {
  if (!existsSync(path)) return null;
  return attempt(`read ${path}`, () => readFileSync(path, 'utf8'));
}

/** Whole or not at all. */
function write(path: string, text: string): void {
  const fresh = `${path}.new`;
  attempt(`write ${path}`, () => {
    writeFileSync(fresh, text, { mode: 0o644 });
    renameSync(fresh, path);
  });
}

function attempt<Result>(what: string, work: () => Result): Result {
  try {
    return work();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException; // of node:fs
    const cure = code === 'EACCES' || code === 'EPERM' ? '; run with sudo, or see --print' : '';
    throw new Failure(`cannot ${what}: ${messageOf(thrown)}${cure}`);
  }
}

/** Why the unit's own user could not run this installation. */
function problemsOf({ node, main }: Program): string[] {
  return [node, main].flatMap((path) => {
    const hidden = hiddenOf(path);
    if (hidden !== null) return [`${hidden}: install it elsewhere`];
    const closed = closedAbove(path);
    if (closed === null) return [];
    return [
      `${path}: the unit's user may not enter ${closed}: chmod o+x ${closed}, or install it elsewhere`,
    ];
  });
}

function hiddenOf(path: string): string | null {
  const found = HIDDEN.find(({ folder }) => path.startsWith(folder));
  return found === undefined
    ? null
    : `${path} is below ${found.folder}, which the unit hides (${found.by})`;
}

function problemsOfConfig(path: string): string[] {
  const hidden = hiddenOf(path);
  const problems = hidden === null ? [] : [`${hidden}: put it elsewhere, such as /etc/fantail`];
  if (parse(path).name === ANY) return problems;
  if (!existsSync(path)) return [...problems, `there is no ${path} yet`];
  const { mode } = statSync(path);
  const isRead = (mode & OTHERS_READ) !== 0 && closedAbove(path) === null;
  return isRead
    ? problems
    : [...problems, `the unit's user may not read ${path}: chmod o+r ${path}`];
}

/** The highest folder above it that others may not enter; null: there is none. */
function closedAbove(path: string): string | null {
  const above = dirname(path);
  if (above === path) return null;
  const higher = closedAbove(above);
  if (higher !== null) return higher;
  return (statSync(above).mode & OTHERS_ENTER) === 0 ? above : null;
}
