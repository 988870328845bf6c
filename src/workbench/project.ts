/**
 * The folder that a filter is written in: made from a template and a copy of the SDK, so that it
 * stands alone, and compiled by AssemblyScript's own compiler with the options that are in it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { Failure, messageOf, UsageError } from '../domain/errors.js';
import { ROOT } from '../domain/installation.js';

const CONFIG = 'asconfig.json';
/** The SDK's folder within a project. */
const SDK = 'fantail';
const SDK_FILES = ['sdk.ts', 'rewrite.ts', 'settings.ts', 'report.ts', 'layout.ts'];
/** It becomes the name of a folder, a file and, as is usual, of the filter. */
const NAME = /^[a-z][a-z0-9-]{0,31}$/;

/** Makes the folder `name` in `parent`; gives its path. */
export function createProject(name: string, parent: string): string {
  if (!NAME.test(name)) {
    throw new UsageError(
      `name must be up to 32 of a-z, 0-9 and -, beginning with a letter, not '${name}'`,
    );
  }
  const folder = resolve(parent, name);
  if (existsSync(folder))
    throw new Failure(`${folder} is there already; choose another name or remove it`);
  const options = JSON.parse(readFileSync(join(ROOT, CONFIG), 'utf8')) as AscConfig; // our own file
  const files = new Map<string, string>([
    [`${name}.ts`, sourceText(name)],
    [CONFIG, `${JSON.stringify(configOf(name, options), null, 2)}\n`],
    ['README.md', readmeText(name)],
    ['.gitignore', 'build/\n'],
  ]);
  for (const file of SDK_FILES)
    files.set(join(SDK, file), readFileSync(join(ROOT, 'assembly', file), 'utf8'));
  try {
    mkdirSync(join(folder, SDK), { recursive: true });
    for (const [file, text] of files) writeFileSync(join(folder, file), text, { flag: 'wx' });
  } catch (error) {
    throw new Failure(`cannot make ${folder}: ${messageOf(error)}`);
  }
  return folder;
}

interface AscConfig {
  readonly options: Record<string, unknown>;
  readonly targets: Record<string, Record<string, unknown>>;
}

function configOf(name: string, { options, targets }: AscConfig): object {
  const release = {
    ...targets.release,
    outFile: `build/${name}.wasm`,
    textFile: `build/${name}.wat`,
  };
  return { entries: [`${name}.ts`], options, targets: { release } };
}

export interface Built {
  /** The module that was written. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Compiles the project in that folder; a Failure carries what the compiler says, with file and
 * line.
 */
export async function buildProject(given: string): Promise<Built> {
  const folder = resolve(given);
  if (!existsSync(join(folder, CONFIG))) {
    throw new Failure(`${folder} has no ${CONFIG}; make a filter with: fantail filter new <name>`);
  }
  // It runs once, and V8's optimising compiler takes more time than it gains there; what asc makes
  // is tried in a process of its own.
  setFlagsFromString('--liftoff-only');
  // 10 MB: not before something is compiled
  const { default: asc } = await import('assemblyscript/asc');
  let built: Built | null = null;
  const { error, stderr } = await asc.main(
    ['--config', CONFIG, '--target', 'release', '--baseDir', folder],
    {
      readFile: (name: string) => readOrNull(isAbsolute(name) ? name : join(folder, name)),
      writeFile: (name: string, contents: string | Uint8Array) => {
        const path = isAbsolute(name) ? name : join(folder, name);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, contents);
        if (typeof contents !== 'string' && path.endsWith('.wasm'))
          built = { path, bytes: contents };
      },
    },
  );
  if (error !== null) throw new Failure(complaint(stderr.toString(), messageOf(error)));
  if (built === null)
    throw new Failure(`${join(basename(folder), CONFIG)} names no outFile that ends in .wasm`);
  return built;
}

/** As asc wants it: null for one of the places it looks in where there is no file. */
function readOrNull(path: string): string | null {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

/**
 * asc prints `ERROR TS2322: Type 'a' is not assignable … .`, a picture, then ` in name.ts(10,5)`:
 * sentence and place, an error each.
 */
function complaint(printed: string, otherwise: string): string {
  const plain = stripVTControlCharacters(printed);
  const found: string[] = [];
  for (const block of plain.split(/^(?=ERROR )/m)) {
    const sentence = /^ERROR (?:[A-Z]+\d+: )?(.*?)\.?$/m.exec(block)?.[1];
    const place = /in ([^\s()]+)\((\d+),(\d+)\)/.exec(block);
    if (sentence !== undefined) {
      found.push(place === null ? sentence : `${place[1]}:${place[2]}:${place[3]}: ${sentence}`);
    }
  }
  return found.length === 0 ? otherwise : found.join('; ');
}

const classOf = (name: string) =>
  name.replace(/(?:^|-)([a-z0-9]?)/g, (_, first: string) => first.toUpperCase());

function sourceText(name: string): string {
  const className = `${classOf(name)}Job`;
  return `/**
 * ${name}: every packet that has a payload, under a plain new header, with the time to live that
 * the parameter asks for.
 *
 * Parameter: \`ttl=1…255\` (default: what it would have been). One that cannot be read drops the
 * subscriber's copies. No state.
 */
import { set_ttl } from './${SDK}/rewrite';
import { Job, burst } from './${SDK}/sdk';
import { Settings, settings } from './${SDK}/settings';

export { fantail_abi } from './${SDK}/sdk';

@unmanaged
class Wanted extends Settings {
  /** 0: none is asked for. */
  ttl: u32;

  read(): void {
    this.ttl = this.number('ttl', 1, 255, 0);
  }
}

@unmanaged
class ${className} extends Job {
  /** One packet for one subscriber. */
  filter(): void {
    const wanted = settings<Wanted>(this.subscriber);
    if (!this.fits || !wanted.is_valid) return this.drop();
    if (this.payload_length == 0) return this.drop();
    this.rewrite();
    if (wanted.ttl != 0) set_ttl(this.header, wanted.ttl);
    this.send_rewritten();
  }
}

/** Answers jobs [first, first + count) of those at \`jobs\`. */
export function fantail_burst(jobs: usize, first: u32, count: u32): void {
  burst<${className}>(jobs, first, count);
}
`;
}

function readmeText(name: string): string {
  return `# ${name}

A filter for fantail. \`${name}.ts\` says for one packet and one subscriber what becomes of it; \`${SDK}/\` is a copy of the SDK
that it is written against (begin with \`${SDK}/sdk.ts\`), so that this folder needs nothing else.

    fantail filter build .
    fantail filter test build/${name}.wasm --param 'ttl=8'
    fantail filter test build/${name}.wasm capture.pcap

A filter may read the whole packet, and write its header slot, its answers, its own memory and its block of state. It
imports nothing, and can neither allocate (\`new\`, arrays, concatenated strings) nor copy in bulk.
`;
}
