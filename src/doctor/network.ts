/**
 * What an interface is, and the network around it, as the kernel tells: read here, judged in
 * findings/. It all belongs to the network namespace that this runs in; for another one it is
 * network-main.ts that runs there.
 */
import { closeSync, readFileSync, readlinkSync } from 'node:fs';
import type { Endpoint } from '../domain/endpoint.js';
import type { FeedAddress } from '../domain/feed.js';
import type { Holder } from '../feeds/sockets.js';
import { addon, type Interface, type XdpProgram } from '../memory/addon.js';
import type { Card } from '../memory/card.js';
import { processes } from '../processes/holders.js';
import { electionName } from '../processes/launchers.js';
import { dataPlanes } from '../replicator/leftovers.js';
import { coresIn } from '../replicator/plan/process.js';
import { Files } from './files.js';

export interface NetworkQuestion {
  readonly interfaceName: string;
  readonly feeds: readonly FeedAddress[];
  readonly promiscuous: boolean;
  /** Addresses of subscribers. */
  readonly destinations: readonly string[];
  /** A fantail that runs there has been asked: the ports are its own, and are not tried. */
  readonly isRunning: boolean;
}

/** An interrupt of the card, and the cores that it comes to. */
export interface Irq {
  readonly number: number;
  readonly cores: readonly number[];
}

/** What /sys says of the interface. */
export interface Device {
  /** The bridge, bond or the like that it is a port of. */
  readonly master: string | null;
  /** Interfaces of VLANs on it. */
  readonly vlans: readonly string[];
  /** NUMA node of the card; null: none, or a virtual one. */
  readonly node: number | null;
  readonly irqs: readonly Irq[];
  readonly deferHardIrqs: number;
  readonly groFlushTimeout_ns: number;
  /** The other end of a veth, where that is in this namespace. */
  readonly peer: string | null;
}

export interface Port extends Endpoint {
  readonly isTaken: boolean;
  /** By whom, where that is known. */
  readonly holder: Holder | null;
}

export interface Network {
  readonly link: Interface;
  readonly card: Card;
  readonly device: Device;
  readonly peer: Card | null;
  readonly program: XdpProgram | null;
  /** Who holds the program by a link. */
  readonly programHolder: Holder | null;
  /** A fantail answers for the program of this interface. */
  readonly isServed: boolean;
  /** Processes of a data plane of this interface that no supervisor watches over. */
  readonly orphans: readonly number[];
  /** Whether each feed's port is free, as far as that could be tried. */
  readonly ports: readonly Port[];
  /** sysctl: what holds is the larger of this interface's and all. */
  readonly rpFilter: number;
  /** Chains of netfilter that packets pass on their way in; null: not to be seen. */
  readonly chains: readonly string[] | null;
  /** The neighbour that each destination is reached by; null: there is no route. */
  readonly vias: readonly { readonly ip: string; readonly via: string | null }[];
  /** What could not be seen, and what that takes. */
  readonly unseen: readonly string[];
}

/** Throws ENODEV if there is no such interface. */
export function readNetwork(question: NetworkQuestion, root = '/'): Network {
  const { interfaceName, feeds, promiscuous, destinations } = question;
  const link = addon.describeInterface(null, interfaceName);
  const device = readDevice(new Files(root), interfaceName);
  const program = addon.xdpProgramOn(null, interfaceName);
  const isServed = question.isRunning || isLaunched(link.index);
  const tried = isServed ? [] : feeds.map((feed) => tryPort(interfaceName, feed, promiscuous));
  const chains = chainsOf(new Files(root), addon.listInputChains(null));
  const isRoot = process.geteuid?.() === 0;
  return {
    link,
    card: addon.describeCard(null, interfaceName),
    device,
    peer: device.peer === null ? null : addon.describeCard(null, device.peer),
    program,
    programHolder: program?.by_link === true ? holderOfProgram(program.id) : null,
    isServed,
    orphans: isRoot ? orphansOf(interfaceName) : [],
    ports: tried.filter((port) => port !== null),
    rpFilter: rpFilterOf(new Files(root), interfaceName),
    chains,
    vias: viasOf(link, destinations),
    unseen: [
      ...(chains === null ? ['rules of netfilter (it takes CAP_NET_ADMIN, and nf_tables)'] : []),
      ...(isRoot ? [] : ["other users' processes (it takes root)"]),
    ],
  };
}

export function readDevice(files: Files, interfaceName: string): Device {
  const folder = `sys/class/net/${interfaceName}`;
  const node =
    files.number(`${folder}/device/numa_node`) ?? files.number(`${folder}/device/../numa_node`);
  // of a virtio device they are the PCI device's above it
  const irqs = [`${folder}/device/msi_irqs`, `${folder}/device/../msi_irqs`].flatMap((path) =>
    files.names(path),
  );
  const vlans = files.names('proc/net/vlan').filter((name) => {
    const text = files.text(`proc/net/vlan/${name}`) ?? '';
    return text.split('\n').includes(`Device: ${interfaceName}`);
  });
  return {
    master: files.target(`${folder}/master`),
    vlans,
    node: node === null || node < 0 ? null : node,
    irqs: irqs.map((name) => ({
      number: Number(name),
      cores: coresIn(
        files.text(`proc/irq/${name}/effective_affinity_list`) ??
          files.text(`proc/irq/${name}/smp_affinity_list`) ??
          '',
      ),
    })),
    deferHardIrqs: files.number(`${folder}/napi_defer_hard_irqs`) ?? 0,
    groFlushTimeout_ns: files.number(`${folder}/gro_flush_timeout`) ?? 0,
    peer: peerOf(files, interfaceName),
  };
}

/** The interface whose index its `iflink` names, if that names it in turn. */
function peerOf(files: Files, interfaceName: string): string | null {
  const of = (name: string, file: string) => files.number(`sys/class/net/${name}/${file}`);
  const [index, link] = [of(interfaceName, 'ifindex'), of(interfaceName, 'iflink')];
  if (index === null || link === null || link === index) return null;
  const found = files
    .names('sys/class/net')
    .find((name) => of(name, 'ifindex') === link && of(name, 'iflink') === index);
  return found ?? null;
}

/**
 * Those of nf_tables, and tables of x_tables (iptables-legacy), which are there from their first
 * use on: the kernel lists them to root alone.
 */
export function chainsOf(files: Files, chains: readonly string[] | null): string[] | null {
  const tables = (files.text('proc/self/net/ip_tables_names') ?? '').split('\n');
  const legacy = tables.filter((table) => /^(?:raw|mangle|filter)$/.test(table));
  if (chains === null && legacy.length === 0) return null;
  return [...(chains ?? []), ...legacy.map((table) => `${table} of iptables-legacy`)];
}

/** A launcher there has been elected. */
function isLaunched(index: number): boolean {
  const table = new Files('/').text('proc/self/net/unix') ?? '';
  return new RegExp(`@${electionName(index)}$`, 'm').test(table);
}

function rpFilterOf(files: Files, interfaceName: string): number {
  const of = (name: string) => files.number(`proc/sys/net/ipv4/conf/${name}/rp_filter`) ?? 0;
  return Math.max(of('all'), of(interfaceName));
}

/** Tried as `up` does, for a moment, without joining a group; null: it cannot be told so. */
function tryPort(device: string, feed: FeedAddress, ofOthers: boolean): Port | null {
  const { ip, port } = feed;
  try {
    closeSync(addon.openListener(null, { ...feed, device, joins: false, ofOthers }));
    return { ip, port, isTaken: false, holder: null };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException; // the addon throws Errors with codes
    return code === 'EADDRINUSE' ? { ip, port, isTaken: true, holder: holderOfPort(feed) } : null;
  }
}

/**
 * Of /proc/net/udp: local address, as the bytes lie in memory of a little-endian machine, and port,
 * hexadecimal; in the tenth column the inode. Those of another address are in nobody's way.
 */
export function inodesOfPort(table: string, { ip, port }: Endpoint): string[] {
  const hex = (value: number, width: number) =>
    value.toString(16).toUpperCase().padStart(width, '0');
  const address = ip.split('.').reverse();
  const ours = ['00000000', address.map((byte) => hex(Number(byte), 2)).join('')];
  const locals = ours.map((each) => `${each}:${hex(port, 4)}`);
  const rows = table.split('\n').map((row) => row.trim().split(/\s+/));
  return rows.flatMap(([, local = '', , , , , , , , inode = '']) =>
    locals.includes(local) ? [inode] : [],
  );
}

function holderOfPort(feed: Endpoint): Holder | null {
  const inodes = inodesOfPort(new Files('/').text('proc/self/net/udp') ?? '', feed);
  return holderWhere((pid, fd) => {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
    return inode !== undefined && inodes.includes(inode);
  });
}

function holderOfProgram(id: number): Holder | null {
  return holderWhere((pid, fd) => {
    if (!/bpf/.test(readlinkSync(`/proc/${pid}/fd/${fd}`))) return false;
    const about = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
    return /^link_type:\s*xdp$/m.test(about) && new RegExp(`^prog_id:\\s*${id}$`, 'm').test(about);
  });
}

/** Null where there are several: the end of one would not do. */
function holderWhere(matches: (pid: number, fd: string) => boolean): Holder | null {
  const files = new Files('/');
  const holds = (pid: number) =>
    files.names(`proc/${pid}/fd`).some((fd) => {
      try {
        return matches(pid, fd);
      } catch {
        return false; // it has just been closed
      }
    });
  const [pid, ...others] = processes().filter(holds);
  if (pid === undefined || others.length > 0) return null;
  return { pid, name: files.text(`proc/${pid}/comm`) ?? '?' };
}

/** Of a data plane of this namespace. */
function orphansOf(interfaceName: string): number[] {
  const ours = readlinkSync('/proc/self/ns/net');
  const isHere = (pid: number) => {
    try {
      return readlinkSync(`/proc/${pid}/ns/net`) === ours;
    } catch {
      return false; // it has just ended
    }
  };
  return dataPlanes()
    .filter(({ supervisor }) => supervisor === null)
    .flatMap((plane) => plane.processes)
    .filter((each) => each.interface === interfaceName && isHere(each.pid))
    .map(({ pid }) => pid);
}

function viasOf(link: Interface, destinations: readonly string[]): Network['vias'] {
  if (destinations.length === 0) return [];
  const netlink = addon.openNetlink(null);
  try {
    const source = link.addresses[0]?.ip ?? null;
    return destinations.map((ip) => ({
      ip,
      via: addon.lookUpRoute(netlink, link.index, ip, source),
    }));
  } finally {
    closeSync(netlink);
  }
}

/** Those that packets can come by: each that has a MAC address, but for a loopback. */
export function servable(netns: string | null): { up: string[]; down: string[] } {
  const links = addon.listInterfaces(netns).flatMap((name) => {
    try {
      return [addon.describeInterface(netns, name)];
    } catch (error) {
      // the addon throws Errors with codes: one that has gone since is none
      if ((error as NodeJS.ErrnoException).code === 'ENODEV') return [];
      throw error;
    }
  });
  const cards = links.filter(({ loopback, mac }) => !loopback && mac !== '');
  const names = (isUp: boolean) =>
    cards.filter(({ up, addresses }) => (up && addresses.length > 0) === isUp).map((it) => it.name);
  return { up: names(true), down: names(false) };
}
