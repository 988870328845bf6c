/**
 * What outlives a restart with `--state`: who is subscribed, by which filter, with which parameter,
 * for how long; the filters themselves; and what new subscribers get. Written a moment after each
 * change, read at the start, where --allow and the checks of modules apply again. Where a data
 * plane is adopted, its arena is believed and not the file.
 */
import * as z from 'zod';
import { endpointText, isAddress, isPort } from '../../domain/endpoint.js';
import { Failure, FantailError, messageOf } from '../../domain/errors.js';
import { ALL_FEEDS, isFeedName } from '../../domain/feed.js';
import { LEASE_SECONDS_MAX } from '../../domain/lease.js';
import { EVERY_FEED, type Feeds, MAIN } from '../../feeds/feeds.js';
import type { FilterDesk } from '../../filters/desk.js';
import { BUILT_IN, type Filters } from '../../filters/registry.js';
import { limits } from '../../memory/layout.js';
import { GRACE_S, type Leases } from '../../subscribers/leases.js';
import type { Subscribers } from '../../subscribers/subscribers.js';
import { type About, log } from '../../terminal/log.js';
import type { Opening } from '../planes.js';
import type { LiveReplicator } from '../replicator.js';
import { StateFile } from './state-file.js';

/** Between two looks for a change. */
const LOOK_MS = 200;
/** After a write that failed. */
const AGAIN_MS = 5000;
const VERSION = 1;

const base64 = z.base64();
const use = { filter: z.string(), param: base64 };
const schema = z.strictObject({
  fantail: z.literal('state'),
  version: z.literal(VERSION),
  filters: z
    .array(z.strictObject({ name: z.string(), hash: z.string().regex(/^[0-9a-f]{64}$/) }))
    .max(limits.FILTERS_MAX),
  newcomers: z.strictObject(use),
  /** But the first one; absent in files of earlier versions. */
  feeds: z
    .array(
      z.strictObject({
        name: z.string().refine(isFeedName),
        ip: z.string().refine(isAddress),
        port: z.number().refine(isPort),
        source: z.string().refine(isAddress).nullable(),
      }),
    )
    .max(limits.FEEDS_MAX)
    .default([]),
  subscribers: z
    .array(
      z.strictObject({
        ip: z.string().refine(isAddress),
        port: z.number().refine(isPort),
        ...use,
        /** Names, or all alone; absent in files of earlier versions. */
        feeds: z.array(z.string()).default([MAIN]),
        paused: z.boolean().default(false),
        /** Milliseconds since 1970; a lease on a session is one, too. */
        lease: z.union([z.null(), z.literal('session'), z.number()]),
      }),
    )
    .max(limits.SUBSCRIBERS_MAX),
});
export type State = z.output<typeof schema>;

export interface StateParts {
  readonly filters: Filters;
  readonly desk: FilterDesk;
  readonly subscribers: Subscribers;
  readonly leases: Leases;
  readonly feeds: Feeds;
  readonly replicator: LiveReplicator;
  /** Tells what the next supervisor is to know. */
  readonly keep: () => void;
}

// ---- writing ------------------------------------------------------------------------------------

/** Writes the file whenever something has changed. */
export class StateKeeper {
  private written = '';
  private seen = '';
  private timer: NodeJS.Timeout | null = null;
  private isFailing = false;
  /** The end of the last write: one at a time. */
  private lastWrite: Promise<void> = Promise.resolve();

  constructor(
    private readonly file: StateFile,
    private readonly parts: StateParts,
  ) {}

  /** Writes once; throws where that cannot be done. */
  async start(): Promise<void> {
    await this.write();
    this.lookAgain(LOOK_MS);
  }

  /** With what there is now, leases on sessions that are about to end among it. */
  async close(): Promise<void> {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    await this.writeIfChanged();
  }

  private lookAgain(after_ms: number): void {
    this.timer = setTimeout(async () => {
      await this.writeIfChanged();
      if (this.timer !== null) this.lookAgain(this.isFailing ? AGAIN_MS : LOOK_MS);
    }, after_ms).unref();
  }

  private writeIfChanged(): Promise<void> {
    this.lastWrite = this.lastWrite.then(() => this.tryToWrite());
    return this.lastWrite;
  }

  private async tryToWrite(): Promise<void> {
    const { subscribers, leases, feeds } = this.parts;
    const revision = `${subscribers.version} ${leases.version} ${feeds.version}`;
    if (revision === this.seen && !this.isFailing) return;
    try {
      await this.write();
      if (this.isFailing) log.info(`the state is written to ${this.file.path} again`);
      this.isFailing = false;
      this.seen = revision;
    } catch (error) {
      if (!this.isFailing)
        log.error(`${messageOf(error)}: changes do not outlive a restart until it can be written`);
      this.isFailing = true;
    }
  }

  private async write(): Promise<void> {
    const { filters } = this.parts;
    const text = `${JSON.stringify(stateOf(this.parts), null, 1)}\n`;
    if (text === this.written) return;
    const named = filters.named().flatMap(({ module }) => module ?? []);
    const own = named.filter((module) => module !== filters.builtIn);
    await this.file.write(text, new Map(own.map(({ hash, bytes }) => [hash, bytes])));
    this.written = text;
  }
}

function stateOf({ filters, subscribers, leases, feeds }: StateParts): State {
  const named = new Map(
    filters.named().flatMap(({ name, module }) => (module === null ? [] : [[module, name]])),
  );
  // one that no name means any more is gone with this process
  const usedBy = ({ filter }: Pick<Filters['newcomers'], 'filter'>) => ({
    filter: named.get(filter.module) ?? BUILT_IN,
    param: named.has(filter.module) ? Buffer.from(filter.param).toString('base64') : '',
  });
  return {
    fantail: 'state',
    version: VERSION,
    filters: [...named]
      .filter(([module]) => module !== filters.builtIn)
      .map(([{ hash }, name]) => ({ name, hash })),
    newcomers: usedBy(filters.newcomers),
    feeds: feeds
      .all()
      .filter(({ name }) => name !== MAIN)
      .map(({ name, ip, port, source }) => ({ name, ip, port, source })),
    subscribers: [...subscribers.all()].map((subscriber) => ({
      ip: subscriber.ip,
      port: subscriber.port,
      ...usedBy(subscriber),
      feeds: subscriber.feeds === EVERY_FEED ? [ALL_FEEDS] : feeds.namesOf(subscriber.feeds),
      paused: subscriber.isPaused,
      lease: leases.endOf(subscriber),
    })),
  };
}

// ---- reading ------------------------------------------------------------------------------------

/** What the file says; null where there is none, or what there is is not believed. */
async function readState(file: StateFile): Promise<State | null> {
  const text = await file.read();
  if (text === null) return null;
  const state = parsed(text);
  if (state !== null) return state;
  const aside = await file.keepAside();
  log.warn(`${file.path} is no state of fantail's, or torn: it is ${aside} now, and not believed`);
  return null;
}

function parsed(text: string): State | null {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * Loads and subscribes what the state says. What is refused today is told and left out; then what
 * the file said is kept aside, with its modules.
 */
async function restore(state: State, file: StateFile, parts: StateParts): Promise<void> {
  const { desk, filters, subscribers, replicator, keep } = parts;
  const left: string[] = [];
  const attempt = async (about: About, what: string, work: () => unknown) => {
    const asked = { ...about, who: 'state file' };
    try {
      await work();
      log.info({ ...asked, code: 'ok' }, `restored from the state file: ${what}`);
    } catch (error) {
      if (!(error instanceof FantailError)) throw error;
      const { code, message } = error;
      left.push(what);
      log.warn({ ...asked, code }, `not restored: ${what}: ${message} (${code})`);
    }
  };
  // --filter, which has answered for everybody up to here
  const given = filters.named().find(({ name }) => name !== BUILT_IN)?.name ?? null;
  for (const { name, hash } of state.filters)
    if (name !== given)
      await attempt({ op: 'filter.load', filter: name }, `filter ${name}`, async () => {
        const bytes = await file.module(hash);
        if (bytes === null)
          throw new FantailError('NOT_FOUND', `its module is not in ${file.path}.filters`);
        await desk.load(name, bytes);
      });
  const { newcomers } = state;
  if (given === null)
    await attempt(
      { op: 'filter.use', filter: newcomers.filter },
      'the filter of new subscribers',
      () => filters.use(newcomers.filter, bytesOf(newcomers.param), filters.newcomers),
    );
  else log.info(`filter ${given} is that of --filter, and new subscribers get it: not the state's`);
  for (const feed of state.feeds)
    await attempt({ op: 'feed.add', feed: feed.name }, `feed ${feed.name}`, () =>
      replicator.feedAdd(feed),
    );
  for (const { ip, port, filter, param, lease, feeds: choice, paused } of state.subscribers) {
    const left_s = secondsLeft(lease);
    if (left_s !== null && left_s <= 0) continue;
    const subscriber = endpointText({ ip, port });
    await attempt({ op: 'add', subscriber, filter }, subscriber, () => {
      const assigned = { module: filters.find(filter), param: bytesOf(param), before: null };
      const endpoint = { ip, port };
      replicator.restore({ endpoint, lease: left_s, filter: assigned, choice, isPaused: paused });
    });
  }
  keep();
  if (left.length > 0) log.warn(`what was not restored is kept in ${await file.copyAside()}`);
  log.info(`restored ${subscribers.size} of ${state.subscribers.length} subscribers`);
}

/** A clock that was set meanwhile makes no lease longer than one can be. */
function secondsLeft(lease: State['subscribers'][number]['lease']): number | null {
  if (lease === 'session') return GRACE_S;
  return lease === null ? null : Math.min((lease - Date.now()) / 1000, LEASE_SECONDS_MAX);
}

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

/** What an earlier run has left in --state, unless it was adopted; kept up to date from now on. */
export async function openState(
  { config: { state: path }, closers }: Opening,
  isAdopted: boolean,
  parts: StateParts,
): Promise<StateKeeper | null> {
  if (path === null) return null;
  const file = closers.keep(StateFile.open(path));
  const before = isAdopted ? null : await readState(file);
  if (before !== null) await restore(before, file, parts);
  const keeper = new StateKeeper(file, parts);
  try {
    await keeper.start();
  } catch (error) {
    throw new Failure(`cannot write the state: ${messageOf(error)}`);
  }
  return keeper;
}
