/** Examines a machine and its interfaces: reads all, judges all, changes nothing. */
import { execFileSync } from 'node:child_process';
import type { ClientFlags } from '../control/client.js';
import { Failure, messageOf } from '../domain/errors.js';
import type { FeedAddress } from '../domain/feed.js';
import { programFile } from '../domain/installation.js';
import { addon } from '../memory/addon.js';
import { type Config, configOf, type UpFlags } from '../replicator/config.js';
import { observedOf } from '../replicator/interface.js';
import { activeQueues } from '../replicator/plan/checks.js';
import { type Shell, upLine } from './cures.js';
import { type FoundLauncher, findLauncher, stamps } from './launcher.js';
import { readClock, readMachine } from './machine.js';
import { type Network, type NetworkQuestion, readNetwork, servable } from './network.js';
import { type Report, reportOf, rowsOf, type Section } from './report.js';
import type { NetworkSubject, Source, Subject } from './subject.js';
import { MACHINE_TOPICS, NETWORK_TOPICS } from './topics.js';

/** Those of `up` that decide what runs where. */
export type DoctorFlags = ClientFlags &
  Pick<UpFlags, 'mode' | 'layout' | 'queues' | 'workers' | 'cpus' | 'busyPoll' | 'transmit'> &
  Pick<UpFlags, 'filter' | 'netns' | 'promiscuous' | 'feed'> & { readonly source?: Source };

export interface Asked {
  /** Null: all that could serve. */
  readonly interfaceName: string | null;
  readonly feed: { readonly ip: string; readonly port: number } | null;
  readonly flags: DoctorFlags;
  readonly shell: Shell;
}

/** Bytes: 4096 ways and 8192 rules of a card are some 3 MB. */
const ANSWER_SIZE_MAX = 16 << 20;

/** Of the namespace that is asked about, by a process of its own if that is another one. */
function askNetwork(netns: string | null, question: NetworkQuestion): Network {
  if (netns === null) return readNetwork(question);
  const words = [process.execPath, programFile('doctor/network-main.js'), JSON.stringify(question)];
  const answer = execFileSync('ip', ['netns', 'exec', netns, ...words], {
    encoding: 'utf8',
    maxBuffer: ANSWER_SIZE_MAX,
  });
  return JSON.parse(answer) as Network; // of the same program
}

export async function examine(asked: Asked): Promise<Report> {
  const { interfaceName, flags, shell } = asked;
  const { launcher, unseen: unasked } = await findLauncher(flags);
  const names = interfaceName === null ? servable(flags.netns ?? null) : null;
  const parts = {
    machine: readMachine(),
    clock: await readClock(),
    isStamped: launcher?.isStamped === true || (flags.filter !== undefined && stamps(flags.filter)),
    source: flags.source ?? null,
    upLine: shell.isStart ? upLine(shell) : null,
    program: shell.program,
  };
  const unseen: string[] = [...unasked];
  const down = names?.down.map((name) => `${name}, which is down or has no address`) ?? [];
  const found = (names?.up ?? (interfaceName === null ? [] : [interfaceName]))
    .filter((name) => name !== '-')
    .map((name) => networkSubject(name, asked, launcher, parts));
  unseen.push(...down, ...found.flatMap(({ network }) => network.unseen));
  const first = found[0] ?? machineSubject(asked, launcher, parts);
  const machine: Section = { interface: null, rows: rowsOf(MACHINE_TOPICS, first, shell) };
  const sections = found.map((subject) => ({
    interface: subject.network.link.name,
    rows: rowsOf(NETWORK_TOPICS, subject, shell),
  }));
  return reportOf([machine, ...sections], unseen);
}

type Parts = Omit<Subject, 'config' | 'observed' | 'launcher'>;

function machineSubject(asked: Asked, launcher: FoundLauncher | null, parts: Parts): Subject {
  const config = configFor(asked.interfaceName ?? '-', asked, launcher);
  return { ...parts, config, launcher, observed: observedOf(null, false) };
}

function networkSubject(
  name: string,
  asked: Asked,
  running: FoundLauncher | null,
  parts: Parts,
): NetworkSubject {
  const launcher = running?.interface === name ? running : null;
  const config = configFor(name, asked, launcher);
  const feeds = feedsOf(config, launcher, asked);
  const network = lookAt(config, feeds, launcher);
  const { link } = network;
  const all = Array.from({ length: activeQueues(link) }, (_, queue) => queue);
  const queues = config.queues === 'all' ? all : config.queues;
  return {
    ...parts,
    config,
    launcher,
    network,
    feeds,
    queues,
    observed: observedOf(link, network.card.takes_rules),
  };
}

/** The ones that were named; else those of the launcher that runs. */
function feedsOf(
  { feeds }: Config,
  launcher: FoundLauncher | null,
  { feed }: Asked,
): readonly FeedAddress[] {
  if (feed !== null) return [{ ...feed, source: null }, ...feeds];
  return (launcher?.feeds ?? []).map(({ ip, port, source }) => ({ ip, port, source }));
}

function lookAt(
  config: Config,
  feeds: readonly FeedAddress[],
  launcher: FoundLauncher | null,
): Network {
  const { interfaceName, netns } = config;
  try {
    addon.describeInterface(netns, interfaceName); // says why it cannot
    return askNetwork(netns, {
      interfaceName,
      feeds,
      promiscuous: config.promiscuous,
      destinations: launcher?.subscribers.map(({ ip }) => ip) ?? [],
      isRunning: launcher !== null,
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException; // the addon throws Errors with codes
    if (code === 'ENODEV')
      throw new Failure(`there is no interface ${interfaceName}; see: ip link`);
    throw new Failure(messageOf(error));
  }
}

/** No finding is about these. */
const NOT_JUDGED = {
  order: 'rotate',
  udpChecksum: 'zero',
  multicastTtl: 1,
  metricsSubscribers: 0,
} as const;

const runningFlags = ({ mode, queues, feeds }: FoundLauncher) => ({
  mode,
  queues,
  promiscuous: feeds.some((feed) => feed.of_another_host),
});

/** What was asked; where that was not said, what runs. */
function configFor(name: string, { feed, flags }: Asked, launcher: FoundLauncher | null): Config {
  const running = launcher?.feeds[0];
  const { ip = '', port = 0 } = feed ?? running ?? {};
  const isRunning = launcher !== null && feed === null;
  const { control: _, tokenFile: __, ...deployment } = flags;
  const listen = { interfaceName: name, listenIp: ip, listenPort: port };
  return configOf(listen, {
    ...deployment,
    ...(isRunning ? runningFlags(launcher) : {}),
    ...NOT_JUDGED,
  });
}
