/**
 * The processes of a demo: listeners and feed at the far end, and the replicator itself.
 *
 * Each is a session of its own, so that a Ctrl-C in the terminal reaches the demo alone, which then
 * ends them in order. If the demo is killed, helpers end as their channel closes, and the
 * replicator gets SIGTERM from the kernel (setpriv --pdeathsig).
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Endpoint, endpointText } from '../domain/endpoint.js';
import { Failure } from '../domain/errors.js';
import { programFile } from '../domain/installation.js';
import type {
  FeedAsk,
  FeedOptions,
  FeedReport,
  FeedTell,
  ListenerAsk,
  ListenerOptions,
  ListenerTell,
  Snapshot,
} from './messages.js';
import type { Scene } from './scene.js';

const START_MS_MAX = 20_000;
/** A snapshot that takes longer is left out of the table. */
const SNAPSHOT_MS_MAX = 600;
/** Between SIGTERM and SIGKILL, and for the feed's last words. */
const STOP_MS_MAX = 5000;
const LAST_WORDS_MS = 50;

/** `work`, or a Failure after a while. */
async function within<Value>(
  milliseconds: number,
  what: string,
  work: Promise<Value>,
): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Failure(`${what} took longer than ${milliseconds / 1000} s`)),
      milliseconds,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** SIGTERM, then SIGKILL; resolves when it is gone. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await gone;
  clearTimeout(timer);
}

/** Starts a helper script in the far namespace, with a channel to it. */
function startHelper(
  script: string,
  scene: Scene,
  options: FeedOptions | ListenerOptions,
): ChildProcess {
  const node = [process.execPath, programFile(`demo/${script}`), JSON.stringify(options)];
  const command =
    scene.farNamespace === null ? node : ['ip', 'netns', 'exec', scene.farNamespace, ...node];
  return spawn(command[0] ?? 'ip', command.slice(1), {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    detached: true,
  });
}

/** The first message of a helper, or a Failure if it ends instead. */
function firstMessage<Tell>(child: ChildProcess, what: string): Promise<Tell> {
  const told = new Promise<Tell>((resolve, reject) => {
    child.once('message', (message) => resolve(message as Tell)); // our own script at the other end
    child.once('error', reject);
    child.once('exit', (status, signal) =>
      reject(new Failure(`${what} ended (${signal ?? `status ${status}`})`)),
    );
  });
  return within(START_MS_MAX, `starting ${what}`, told);
}

/** A subscriber at the far end. */
export class Listener {
  #asked: ((snapshot: Snapshot | null) => void) | null = null;
  #restarted: (() => void) | null = null;

  private constructor(
    readonly endpoint: Endpoint,
    private readonly child: ChildProcess,
  ) {
    child.on('message', (message: ListenerTell) => {
      if (message.tell === 'snapshot') this.#asked?.(message);
      if (message.tell === 'restarted') this.#restarted?.();
    });
  }

  static async start(scene: Scene, wanted: Endpoint): Promise<Listener> {
    const child = startHelper('listener-main.js', scene, wanted);
    const what = `the subscriber ${endpointText(wanted)}`;
    const told = await firstMessage<ListenerTell>(child, what).catch(async (thrown) => {
      await end(child);
      throw thrown;
    });
    if (told.tell === 'ready') return new Listener({ ip: wanted.ip, port: told.port }, child);
    await end(child);
    throw new Failure(`${what} cannot listen: ${told.tell === 'failed' ? told.reason : told.tell}`);
  }

  /** Its account up to sequence `through`, or null if it does not answer in time. */
  snapshot(through: number): Promise<Snapshot | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(null), SNAPSHOT_MS_MAX);
      this.#asked = (snapshot) => {
        clearTimeout(timer);
        resolve(snapshot);
      };
      this.#ask({ ask: 'snapshot', through });
    });
  }

  /**
   * Begins a new account: owed is everything from sequence `from` on, or with null from the first
   * that comes. What was there before it resolves may be in the old one.
   */
  async restart(from: number | null): Promise<void> {
    const restarted = new Promise<void>((resolve) => {
      this.#restarted = resolve;
    });
    this.#ask({ ask: 'restart', from });
    const what = `a new account of ${endpointText(this.endpoint)}`;
    await within(START_MS_MAX, what, restarted);
  }

  close(): Promise<void> {
    return end(this.child);
  }

  #ask(message: ListenerAsk): void {
    if (this.child.connected) this.child.send(message);
  }
}

/** The feed at the far end. */
export class Feed {
  /** Newest last. */
  readonly reports: FeedReport[] = [];
  #stopped: ((report: FeedReport) => void) | null = null;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (message: FeedTell) => {
      if (message.tell === 'ready') return;
      this.reports.push(message);
      if (this.reports.length > 100) this.reports.shift();
      if (message.tell === 'stopped') this.#stopped?.(message);
    });
  }

  static async start(scene: Scene, rate: number): Promise<Feed> {
    const options = {
      sourceIp: scene.feedIp,
      targetIp: scene.listen.ip,
      targetPort: scene.listen.port,
      rate,
    };
    const child = startHelper('feed-main.js', scene, options);
    const feed = new Feed(child);
    await firstMessage<FeedTell>(child, 'the feed').catch(async (thrown) => {
      await end(child);
      throw thrown;
    });
    return feed;
  }

  /** Sends, from sequence 0 on. */
  begin(): void {
    this.reports.length = 0;
    this.#ask({ ask: 'start' });
  }

  /** Stops sending and resolves with the whole count; null if it is gone. */
  async stop(): Promise<FeedReport | null> {
    if (!this.child.connected) return null;
    const stopped = new Promise<FeedReport>((resolve) => {
      this.#stopped = resolve;
    });
    this.#ask({ ask: 'stop' });
    return await within(STOP_MS_MAX, 'stopping the feed', stopped).catch(() => null);
  }

  close(): Promise<void> {
    return end(this.child);
  }

  #ask(message: FeedAsk): void {
    if (this.child.connected) this.child.send(message);
  }
}

export interface ReplicatorOptions {
  readonly scene: Scene;
  readonly controlPort: number;
  /** Undefined: `up` chooses. */
  readonly mode: string | undefined;
  readonly layout: string;
  readonly busyPoll: boolean;
  /** Called with each line that the replicator has to say. */
  readonly onLine: (line: string) => void;
}

/** The replicator: `fantail up`, as anybody else would start it. */
export class ReplicatorProcess {
  /** Resolves with a sentence when it ends, whatever the reason. */
  readonly ended: Promise<string>;

  private constructor(
    readonly controlPort: number,
    private readonly child: ChildProcess,
  ) {
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (status, signal) =>
        resolve(signal === null ? `status ${status}` : `signal ${signal}`),
      );
    });
  }

  static async start(options: ReplicatorOptions): Promise<ReplicatorProcess> {
    const command = replicatorCommand(options);
    const child = spawn(command[0] ?? '', command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const replicator = new ReplicatorProcess(options.controlPort, child);
    let lastLine = '';
    const hear = (line: string) => {
      const said = saidBy(line);
      if (said === null) return;
      lastLine = said;
      options.onLine(said);
    };
    createInterface({ input: child.stderr }).on('line', hear);
    const ready = new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) =>
        line.startsWith('ready ') ? resolve() : hear(line),
      );
      void replicator.ended.then((how) => {
        const say = () =>
          reject(new Failure(`the replicator ended (${how}) before it was ready: ${lastLine}`));
        setTimeout(say, LAST_WORDS_MS); // its last line may still be in the pipe
      });
    });
    try {
      await within(START_MS_MAX, 'starting the replicator', ready);
    } catch (thrown) {
      await end(child);
      throw thrown;
    }
    return replicator;
  }

  close(): Promise<void> {
    return end(this.child);
  }

  /** For the last moment of a process, when nothing can be awaited. */
  closeNow(): void {
    if (this.child.exitCode === null) this.child.kill('SIGTERM');
  }
}

/**
 * A line of its log without the time; null for one below a warning. As terminal/log.ts prints it:
 * `[time] WARN: sentence`.
 */
function saidBy(line: string): string | null {
  const [, level, said] = /^\[[^\]]*\] ([A-Z]+): (.*)$/.exec(line) ?? [];
  if (said === undefined) return line;
  return level === 'INFO' || level === 'DEBUG' || level === 'TRACE' ? null : said;
}

function replicatorCommand(options: ReplicatorOptions): string[] {
  const { scene, controlPort, mode, layout, busyPoll } = options;
  const { interfaceName, listen, nearNamespace } = scene;
  const main = programFile('main.js');
  const command = [process.execPath, main, 'up', interfaceName, listen.ip, String(listen.port)];
  command.push('--control', `127.0.0.1:${controlPort}`);
  // The link is the demo's own, so legacy control harms nobody there, and existing clients can be
  // tried on it.
  if (nearNamespace !== null) command.push('--netns', nearNamespace, '--legacy-control', listen.ip);
  if (mode !== undefined) command.push('--mode', mode);
  command.push('--layout', layout);
  if (busyPoll) command.push('--busy-poll');
  const hasSetpriv =
    spawnSync('setpriv', ['--pdeathsig', 'TERM', 'true'], { stdio: 'ignore' }).status === 0;
  return hasSetpriv ? ['setpriv', '--pdeathsig', 'TERM', ...command] : command;
}
