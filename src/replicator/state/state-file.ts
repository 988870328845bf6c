/**
 * A file that survives a power cut, and modules beside it: written to a new file, synchronised,
 * renamed over the old one, and the folder synchronised (rename(2) is atomic; fsync(2) says that a
 * folder has to be synchronised too). Either the old content is there afterwards, or the new one.
 *
 *     F            JSON, mode 0600
 *     F.filters/   HASH.wasm: each module once, by its SHA-256, mode 0600
 *     F.bad-TIME   what was found there and not believed, or not restored
 *
 * One process has it at a time: who does holds an abstract Unix socket that is named after it.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Failure, messageOf } from '../../domain/errors.js';
import { hashOf } from '../../filters/check/process.js';
import { addon } from '../../memory/addon.js';
import { limits } from '../../memory/layout.js';

/** Of the JSON: 4096 subscribers with parameters are about 1 MiB. */
const SIZE_MAX = 16 << 20;
/** A link that somebody has put there is not followed. */
const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

export class StateFile {
  private readonly folder: string;
  /** Hashes of the modules that are there. */
  private readonly stored = new Set<string>();

  /** Set once something of it was kept aside: its modules are needed there. */
  private keepsModules = false;

  private constructor(
    readonly path: string,
    private readonly lock: number,
  ) {
    this.folder = `${path}.filters`;
  }

  /** Throws Failure where another process has it. */
  static open(path: string): StateFile {
    const id = createHash('sha256').update(resolve(path)).digest('hex').slice(0, 32);
    const lock = addon.openAbstract(null);
    if (addon.bindAbstract(lock, `fantail-state-${id}`)) return new StateFile(path, lock);
    closeSync(lock);
    throw new Failure(`another fantail up has --state ${path}; give each a file of its own`);
  }

  close(): void {
    closeSync(this.lock);
  }

  /** Null: there is none. Throws Failure where it cannot be read. */
  async read(): Promise<string | null> {
    try {
      const text = await readFile(this.path, 'utf8');
      return text.length > SIZE_MAX ? '' : text;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw new Failure(`cannot read the state: ${messageOf(error)}`);
    }
  }

  /** Puts what is there out of the way, for somebody to look at; where it is now. */
  async keepAside(): Promise<string> {
    const aside = this.aside;
    await rename(this.path, aside);
    await synchronise(dirname(this.path));
    return aside;
  }

  /** A copy of what is there, whose modules stay; where it is. */
  async copyAside(): Promise<string> {
    const { aside } = this;
    await copyFile(this.path, aside);
    this.keepsModules = true;
    return aside;
  }

  private get aside(): string {
    return `${this.path}.bad-${new Date().toISOString().replace(/[:.]/g, '')}`;
  }

  /** The module of that hash; null if it is not there, or is another one. */
  async module(hash: string): Promise<Uint8Array | null> {
    try {
      const bytes = new Uint8Array(await readFile(join(this.folder, `${hash}.wasm`)));
      return bytes.length <= limits.MODULE_SIZE_MAX && hashOf(bytes) === hash ? bytes : null;
    } catch {
      return null;
    }
  }

  /** Modules first, so that a text never names one that is not there; the others go last. */
  async write(text: string, modules: ReadonlyMap<string, Uint8Array>): Promise<void> {
    if (modules.size > 0) await mkdir(this.folder, { recursive: true, mode: 0o700 });
    for (const [hash, bytes] of modules) {
      if (this.stored.has(hash)) continue;
      await replace(join(this.folder, `${hash}.wasm`), bytes);
      this.stored.add(hash);
    }
    await replace(this.path, text);
    if (!this.keepsModules) await this.forgetAllBut(modules);
  }

  private async forgetAllBut(modules: ReadonlyMap<string, Uint8Array>): Promise<void> {
    const names = await readdir(this.folder).catch(() => []);
    for (const name of names) {
      const hash = /^([0-9a-f]{64})\.wasm$/.exec(name)?.[1];
      if (hash === undefined || modules.has(hash)) continue;
      this.stored.delete(hash);
      await rm(join(this.folder, name), { force: true });
    }
  }
}

async function replace(path: string, content: string | Uint8Array): Promise<void> {
  const fresh = `${path}.new`;
  const file = await open(fresh, FLAGS, 0o600);
  try {
    await file.chmod(0o600); // where it was there already
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(fresh, path);
  await synchronise(dirname(path));
}

async function synchronise(folder: string): Promise<void> {
  const file = await open(folder, constants.O_RDONLY);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
