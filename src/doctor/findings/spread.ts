/**
 * Which queue the card gives a flow to: rules first (ethtool -N), then its hash (receive-side
 * scaling, Documentation/networking/scaling.rst), whose value chooses a row of the table.
 */
import ipaddr from 'ipaddr.js';
import type { FeedAddress } from '../../domain/feed.js';
import { type Finding, finder, type Kinds } from '../../domain/finding.js';
import type { Interface } from '../../memory/addon.js';
import type { Card, FlowRule, Spread } from '../../memory/card.js';
import { checkServed } from '../../replicator/plan/checks.js';
import type { NetworkSubject, Source } from '../subject.js';

export const SPREAD_KINDS = {
  rule_drops: {
    level: 'must',
    why: 'the card throws the feed away before any program sees it',
    cure: 'ethtool -N {interface} delete {location}',
    isOfNetwork: true,
    instead: 'see whom it is meant for: ethtool -n INTERFACE',
  },
  rule_unserved: {
    level: 'better',
    why: 'what the card gives to it comes by the kernel, slower, unless another launcher serves it',
    cure: 'ethtool -N {interface} delete {location}; ethtool -N {interface} flow-type udp4 dst-ip {ip} dst-port {port} action {queue}',
    isOfNetwork: true,
    flags: '--queues all',
  },
} as const satisfies Kinds;

const find = finder(SPREAD_KINDS);

interface Flow {
  readonly ip: string;
  readonly port: number;
  readonly source: Source | null;
}

const numberOf = (ip: string): number =>
  Buffer.from(ipaddr.IPv4.parse(ip).toByteArray()).readUInt32BE();

/** Whether a masked field is the flow's; null: that is not known. */
function agrees(value: number | null, is: number, mask: number): boolean | null {
  if (mask === 0) return true;
  return value === null ? null : ((value ^ is) & mask) === 0;
}

/** Whether the rule is for that flow; null: for some of what it may be. */
export function isMatched(rule: FlowRule, { ip, port, source }: Flow): boolean | null {
  const from = source === null ? null : numberOf(source.ip);
  const all = [
    agrees(numberOf(ip), numberOf(rule.target), numberOf(rule.target_mask)),
    agrees(port, rule.target_port, rule.target_port_mask),
    agrees(from, numberOf(rule.source), numberOf(rule.source_mask)),
    agrees(source?.port ?? null, rule.source_port, rule.source_port_mask),
  ];
  if (all.includes(false)) return false;
  return all.includes(null) ? null : true;
}

/** The hash of RSS ("Toeplitz"), as Microsoft has specified it for all. */
export function toeplitz(key: readonly number[], input: readonly number[]): number {
  let hash = 0;
  for (const [at, byte] of input.entries())
    for (let bit = 0; bit < 8; bit++)
      if ((byte & (0x80 >> bit)) !== 0) hash ^= keyWord(key, at * 8 + bit);
  return hash >>> 0;
}

/** 32 bits of the key from that bit on. */
function keyWord(key: readonly number[], bit: number): number {
  let word = 0;
  for (let i = bit; i < bit + 32; i++) {
    const byte = key[i >> 3] ?? 0;
    word = (word << 1) | ((byte >> (7 - (i & 7))) & 1);
  }
  return word;
}

/** The queue that the hash chooses; null where the flow or the hash is not known enough. */
export function queueByHash(spread: Spread, { ip, port, source }: Flow): number | null {
  if (!spread.toeplitz || source === null || (spread.has_ports && source.port === null))
    return null;
  const addresses = [source.ip, ip].flatMap((each) => ipaddr.IPv4.parse(each).toByteArray());
  const ports = [source.port ?? 0, port].flatMap((each) => [each >> 8, each & 0xff]);
  const hash = toeplitz(spread.key, spread.has_ports ? [...addresses, ...ports] : addresses);
  return spread.table[hash % spread.table.length] ?? null;
}

/** The queues that a flow may come by. Without RSS any: which one only the sender's queue tells. */
export function queuesOf(
  card: Pick<Card, 'rules' | 'spread'>,
  active: number,
  flow: Flow,
): number[] {
  const queues = new Set<number>();
  for (const rule of card.rules) {
    const matched = isMatched(rule, flow);
    if (matched !== false && rule.queue !== null) queues.add(rule.queue);
    if (matched === true) return [...queues];
  }
  const { spread } = card;
  const hashed = spread === null ? null : queueByHash(spread, flow);
  const all = spread?.table ?? Array.from({ length: active }, (_, queue) => queue);
  for (const queue of hashed === null ? all : [hashed]) queues.add(queue);
  return [...queues].sort((a, b) => a - b);
}

/** Whether the feed comes by a queue that is served, and what moves it to one. */
export function checkWay(subject: NetworkSubject, feed: FeedAddress): Finding | null {
  const { config, network, queues } = subject;
  const { link, card } = network;
  const { ip, port } = feed;
  const flow = { ip, port, source: subject.source ?? sourceOf(feed) };
  const found =
    checkDropped(link, card.rules, flow) ?? checkRuled(link, card.rules, { ...flow, queues });
  if (found !== null) return found;
  const reached = queuesOf(card, link.rx_queues, flow);
  const listen = { interfaceName: config.interfaceName, listenIp: ip, listenPort: port };
  return checkServed(listen, link, { queues, reached, takesRules: card.takes_rules });
}

/** Those that may be for that flow: what is behind one that is has no say. */
function rulesFor(rules: readonly FlowRule[], flow: Flow): FlowRule[] {
  const last = rules.findIndex((rule) => isMatched(rule, flow) === true);
  const heard = last < 0 ? rules : rules.slice(0, last + 1);
  return heard.filter((rule) => isMatched(rule, flow) !== false);
}

function checkDropped(
  { name }: Pick<Interface, 'name'>,
  rules: readonly FlowRule[],
  flow: Flow,
): Finding | null {
  const rule = rulesFor(rules, flow).find(({ queue }) => queue === null);
  if (rule === undefined) return null;
  const isAll = isMatched(rule, flow) === true;
  const what = `rule ${rule.location} of ${name} drops ${isAll ? 'what' : 'some of what'} is sent to ${flow.ip}:${flow.port}`;
  // one against some senders may be there for a reason
  if (!isAll) return find('rule_drops', what, { level: 'better' });
  return find('rule_drops', what, { interface: name, location: rule.location });
}

/** A rule beside that one would not move the feed: which of two holds is the card's affair. */
function checkRuled(
  { name }: Pick<Interface, 'name'>,
  rules: readonly FlowRule[],
  { queues, ...flow }: Flow & { readonly queues: readonly number[] },
): Finding | null {
  const [rule] = rulesFor(rules, flow);
  const [served] = queues;
  if (rule === undefined || isMatched(rule, flow) !== true || served === undefined) return null;
  const { queue, location } = rule;
  if (queue === null || queues.includes(queue)) return null;
  const { ip, port } = flow;
  const what = `rule ${location} of ${name} gives what is sent to ${ip}:${port} to queue ${queue}, which is not served here`;
  // one that is for more than this feed is not ours to delete
  const isOwn = rule.target_port_mask === 0xffff && rule.target_mask === '255.255.255.255';
  const line = { interface: name, location, ip, port, queue: served };
  return find('rule_unserved', what, isOwn ? line : {});
}

/** A feed of one source comes from there, by whichever port. */
const sourceOf = ({ source }: FeedAddress): Source | null =>
  source === null ? null : { ip: source, port: null };
