/**
 * What the service manager that has started `fantail up` is told, by the protocol of sd_notify(3):
 * datagrams of lines NAME=value to the socket that NOTIFY_SOCKET names.
 *
 *   BOOT ── ready() ──▶ READY ◀── reloading() ──▶ RELOADING      both ── stopping() ──▶ STOPPING
 *
 * From READY on there is a beat: WATCHDOG=1 where one is wanted, and STATUS= where it has changed.
 * It runs on the event loop, so a supervisor that hangs is silent. Nothing here waits for the
 * manager: what it has no room for goes with the next beat, the newest of each name.
 */
import { closeSync, writeSync } from 'node:fs';
import { messageOf } from '../../domain/errors.js';
import { addon } from '../../memory/addon.js';
import { log } from '../../terminal/log.js';

/** Between two beats; less where the watchdog wants two of them in less than twice that. */
const BEAT_MS_MAX = 5000;
/** Of WATCHDOG_USEC: sd_watchdog_enabled(3) recommends a half. */
const BEATS_PER_WATCHDOG = 2;

/** Variables that are meant for this process alone. */
const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;

export interface Told {
  /** A path, or an abstract name behind an `@`. */
  readonly socket: string;
  /** Null: no watchdog waits for this process. */
  readonly watchdogMs: number | null;
}

/**
 * What the environment says, which is taken out of it: no process that we start believes that it
 * is meant. Null: no manager wants to hear of us.
 */
export function takeTold(environment: NodeJS.ProcessEnv = process.env): Told | null {
  const [socket, period, pid] = VARIABLES.map((name) => environment[name]);
  for (const name of VARIABLES) delete environment[name];
  if (socket === undefined || socket === '') return null;
  const isOurs = pid === undefined || pid === String(process.pid);
  const isPeriod = isOurs && period !== undefined && /^[1-9]\d*$/.test(period);
  return { socket, watchdogMs: isPeriod ? Number(period) / 1000 : null };
}

export class ServiceManager {
  private phase: 'BOOT' | 'READY' | 'RELOADING' | 'STOPPING' = 'BOOT';
  /** The newest of each kind that has not been sent. */
  private readonly unsent = new Map<'phase' | 'status', string>();
  private status = '';
  private statusNow: () => string = () => '';
  private hasFailed = false;

  constructor(private readonly told: Told) {}

  /** Packets flow and control answers; `statusNow` tells in a line how it stands. */
  ready(statusNow: () => string): void {
    this.statusNow = statusNow;
    this.enter('READY', 'READY=1');
    const { watchdogMs } = this.told;
    const wanted_ms = watchdogMs === null ? BEAT_MS_MAX : watchdogMs / BEATS_PER_WATCHDOG;
    setInterval(() => this.beat(), Math.min(wanted_ms, BEAT_MS_MAX)).unref();
  }

  reloading(isUnderWay: boolean): void {
    if (this.phase === 'BOOT' || this.phase === 'STOPPING') return;
    // the time is for a unit that says Type=notify-reload, which takes none without it
    const now_us = process.hrtime.bigint() / 1000n;
    if (isUnderWay) this.enter('RELOADING', `RELOADING=1\nMONOTONIC_USEC=${now_us}`);
    else this.enter('READY', 'READY=1');
  }

  stopping(): void {
    this.statusNow = () => 'stopping';
    this.enter('STOPPING', 'STOPPING=1');
  }

  private enter(phase: ServiceManager['phase'], line: string): void {
    this.phase = phase;
    this.unsent.set('phase', line);
    this.beat();
  }

  private beat(): void {
    const status = this.statusNow();
    if (status !== this.status) this.unsent.set('status', `STATUS=${status}`);
    this.status = status;
    const lines = [...this.unsent.values()];
    if (this.told.watchdogMs !== null) lines.push('WATCHDOG=1');
    if (lines.length > 0 && this.send(lines.join('\n'))) this.unsent.clear();
  }

  /** False: it has not arrived. A socket for each: a manager that has begun anew is found. */
  private send(datagram: string): boolean {
    let fd: number | null = null;
    try {
      fd = addon.connectDatagrams(this.told.socket);
      writeSync(fd, datagram);
      return true;
    } catch (error) {
      if (!this.hasFailed)
        log.warn(`the service manager (NOTIFY_SOCKET) is not told: ${messageOf(error)}`);
      this.hasFailed = true;
      return false;
    } finally {
      if (fd !== null) closeSync(fd);
    }
  }
}
