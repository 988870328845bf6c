/**
 * The processes of the demo of a group: etcd, the members, and the helper at the hub.
 *
 * Each is a session of its own, so that a Ctrl-C in the terminal reaches the demo alone, which then
 * ends them in order. If the demo is killed, the kernel ends etcd and the members' supervisors
 * (setpriv --pdeathsig), and the helper ends as its channel closes.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../domain/errors.js';
import { programFile } from '../../domain/installation.js';
import { monotonicMs } from '../../domain/process/clock.js';
import type { CrowdAsk, CrowdOptions, CrowdTell } from './messages.js';
import { FEED, type Place } from './scene.js';

export const GROUP = 'demo';
const START_MS_MAX = 30_000;
/** A look that takes longer is left out. */
const LOOK_MS_MAX = 900;
/** Between SIGTERM and SIGKILL; a member hands its subscribers over meanwhile. */
const STOP_MS_MAX = 15_000;
const POLL_MS = 50;
const LAST_WORDS_MS = 50;
const ETCD_LACKS = `etcd is not in the path, and the group is kept in it; install it, on Debian and Ubuntu with: apt-get install etcd-server (which starts a server on 127.0.0.1:2379 too; the demo starts its own elsewhere)`;
/** In the environment of all that a member starts, with its name. */
const MARK = `FANTAIL_DEMO=${process.pid}-`;

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const at = server.address();
      server.close(() => resolve(typeof at === 'object' && at !== null ? at.port : 0));
    });
  });
}

/** Gets `signal` when this process ends in whatever way; util-linux, which has `ip`'s company. */
function withParent(signal: 'TERM' | 'KILL', command: readonly string[]): string[] {
  const prefix = ['setpriv', '--pdeathsig', signal];
  const isThere = spawnSync('setpriv', [...prefix.slice(1), 'true'], { stdio: 'ignore' });
  return isThere.status === 0 ? [...prefix, ...command] : [...command];
}

async function eventually(what: string, isDone: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = monotonicMs() + START_MS_MAX;
  while (!(await isDone())) {
    if (monotonicMs() > deadline)
      throw new Failure(`${what} took longer than ${START_MS_MAX / 1000} s`);
    await sleep(POLL_MS);
  }
}

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

/** Resolves when it is gone. */
async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (hasEnded(child)) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await gone;
  clearTimeout(timer);
}

/** Folders of demos that died without removing theirs. */
function removeFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = /^fantail-demo-(\d+)-/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** One node on the loopback. Taken away and brought back, it has what it had. */
export class EtcdProcess {
  readonly url: string;
  private readonly folder = mkdtempSync(join(tmpdir(), `fantail-demo-${process.pid}-`));
  private child: ChildProcess | null = null;

  private constructor(
    port: number,
    private readonly peerPort: number,
  ) {
    this.url = `http://127.0.0.1:${port}`;
  }

  static async open(): Promise<EtcdProcess> {
    if (spawnSync('etcd', ['--version'], { stdio: 'ignore' }).error !== undefined)
      throw new Failure(ETCD_LACKS);
    removeFolders();
    const etcd = new EtcdProcess(await freePort(), await freePort());
    try {
      await etcd.start();
    } catch (thrown) {
      await etcd.close();
      throw thrown;
    }
    return etcd;
  }

  /** As `--fleet` takes it. */
  get fleet(): string {
    return `${this.url}/${GROUP}`;
  }

  get isRunning(): boolean {
    return this.child !== null;
  }

  async start(): Promise<void> {
    const peer = `http://127.0.0.1:${this.peerPort}`;
    const words = ['etcd', '--name', 'demo', '--data-dir', this.folder];
    words.push('--listen-client-urls', this.url, '--advertise-client-urls', this.url);
    words.push('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer);
    words.push('--initial-cluster', `demo=${peer}`);
    const [file = '', ...args] = withParent('KILL', words);
    const child = spawn(file, args, { stdio: 'ignore', detached: true });
    this.child = child;
    await eventually('starting etcd', async () => {
      if (hasEnded(child)) throw new Failure('etcd has ended by itself; run the demo again');
      return await fetch(`${this.url}/health`).then(
        (answer) => answer.ok,
        () => false,
      );
    });
  }

  /** As all of a group's etcd may be lost. */
  async stop(): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child !== null) await end(child, 'SIGKILL');
  }

  async close(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  closeNow(): void {
    this.child?.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A member: `fantail up --fleet`, as anybody else would start it. */
export class MemberProcess {
  private child: ChildProcess | null = null;
  private lastLine = '';

  constructor(
    readonly place: Place,
    readonly controlPort: number,
    private readonly fleet: string,
    /** Called with each warning that it has to say. */
    private readonly onLine: (line: string) => void,
  ) {}

  get control(): string {
    return `ws://127.0.0.1:${this.controlPort}`;
  }

  get isRunning(): boolean {
    return this.child !== null;
  }

  async start(): Promise<void> {
    const { name, namespace, interface: device } = this.place;
    const words = [process.execPath, programFile('main.js'), 'up', device, FEED.ip];
    words.push(String(FEED.port), '--netns', namespace, '--layout', 'inline');
    words.push('--control', `127.0.0.1:${this.controlPort}`);
    words.push('--fleet', this.fleet, '--member', name);
    const [file = '', ...args] = withParent('TERM', words);
    const [variable = '', pid = ''] = MARK.split('=');
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, [variable]: `${pid}${name}` },
    });
    this.child = child;
    child.once('exit', () => {
      if (this.child === child) this.child = null;
    });
    await this.ready(child);
  }

  /** kill -9 of all that it is, as a machine dies. */
  async kill(): Promise<void> {
    await eventually(`the end of ${this.place.name}`, () => {
      // in the order of their starting: the supervisor would replace the others
      const pids = this.pids().sort((a, b) => a - b);
      for (const pid of pids) killNow(pid);
      return pids.length === 0;
    });
    this.child = null;
  }

  async close(): Promise<void> {
    if (this.child !== null) await end(this.child, 'SIGTERM');
    await this.kill();
  }

  /** For the last moment of a process, when nothing can be awaited. */
  closeNow(): void {
    for (const pid of this.pids().sort((a, b) => a - b)) killNow(pid);
  }

  private ready(child: ChildProcess): Promise<void> {
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Failure('a member has no pipes');
    createInterface({ input: stderr }).on('line', (line) => this.hear(line));
    return new Promise((resolve, reject) => {
      const late = () => reject(new Failure(`starting ${this.place.name} takes too long`));
      const timer = setTimeout(late, START_MS_MAX);
      createInterface({ input: stdout }).on('line', (line) => {
        if (line.startsWith('ready ')) resolve();
        else this.hear(line);
      });
      child.once('exit', () => {
        clearTimeout(timer);
        const say = () => reject(new Failure(`${this.place.name} ended: ${this.lastLine}`));
        setTimeout(say, LAST_WORDS_MS); // its last line may still be in the pipe
      });
      child.once('error', reject);
    });
  }

  /** `[time] WARN: sentence`, as terminal/log.ts prints it; less than a warning is passed over. */
  private hear(line: string): void {
    const [, level, said] = /^\[[^\]]*\] ([A-Z]+): (.*)$/.exec(line) ?? [];
    if (level === 'INFO' || level === 'DEBUG' || level === 'TRACE') return;
    this.lastLine = said ?? line;
    this.onLine(`${this.place.name}: ${this.lastLine}`);
  }

  /** Its processes, by what stands in their environment. */
  private pids(): number[] {
    const word = `${MARK}${this.place.name}`;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(word);
        } catch {
          return false; // it has just ended
        }
      })
      .map(Number);
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

type Look = Extract<CrowdTell, { tell: 'look' }>;

/** Feed and subscribers at the hub. */
export class Crowd {
  private asked: ((look: Look | null) => void) | null = null;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (message: CrowdTell) => {
      if (message.tell === 'look') this.asked?.(message);
    });
  }

  static async start(hub: string, options: CrowdOptions): Promise<Crowd> {
    const script = programFile('demo/group/crowd-main.js');
    const args = ['netns', 'exec', hub, process.execPath, script, JSON.stringify(options)];
    const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const;
    const child = spawn('ip', args, { stdio: [...stdio], detached: true });
    const told = await new Promise<CrowdTell>((resolve, reject) => {
      child.once('message', (message) => resolve(message as CrowdTell)); // our own script
      child.once('error', reject);
      child.once('exit', () => reject(new Failure('feed and subscribers of the demo have ended')));
    });
    if (told.tell === 'failed') {
      await end(child, 'SIGTERM');
      throw new Failure(`feed and subscribers cannot start: ${told.reason}`);
    }
    return new Crowd(child);
  }

  begin(): void {
    this.ask({ ask: 'start' });
  }

  stop(): void {
    this.ask({ ask: 'stop' });
  }

  /** Null: it does not answer in time. */
  look(): Promise<Look | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), LOOK_MS_MAX);
      this.asked = (look) => {
        clearTimeout(timer);
        resolve(look);
      };
      this.ask({ ask: 'look' });
    });
  }

  close(): Promise<void> {
    return end(this.child, 'SIGTERM');
  }

  private ask(message: CrowdAsk): void {
    if (this.child.connected) this.child.send(message);
  }
}
