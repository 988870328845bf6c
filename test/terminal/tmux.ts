/** A terminal of a test's own: tmux, with a server of its own, and a plain shell in it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd, eventually, run } from '../rig/program.js';

const PROMPT = 'shell> ';

export class Tmux {
  private readonly folder = mkdtempSync(join(tmpdir(), 'tmux-'));
  private readonly undo: () => void;

  private constructor() {
    this.undo = atEnd(() => {
      try {
        this.tmux('kill-server');
      } catch {
        // it has ended with its shell
      }
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  static async open(columns: number, rows: number): Promise<Tmux> {
    const made = new Tmux();
    const size = ['-x', String(columns), '-y', String(rows)];
    const shell = [
      'env',
      '-u',
      'NO_COLOR',
      '-u',
      'FORCE_COLOR',
      '-u',
      'ENV',
      `PS1=${PROMPT}`,
      'sh',
    ];
    made.tmux('new-session', '-d', ...size, ...shell);
    await made.shows(/^shell>/);
    return made;
  }

  /** Keys by tmux's names, such as Enter or PageDown; each an argument. */
  keys(...names: string[]): void {
    this.tmux('send-keys', ...names);
  }

  /** Characters as they are. */
  type(text: string): void {
    this.tmux('send-keys', '-l', text);
  }

  enter(line: string): void {
    this.type(line);
    this.keys('Enter');
  }

  resize(columns: number, rows: number): void {
    this.tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** What stands on the screen, a line each, without the empty ones below. */
  screen(): string {
    return this.tmux('capture-pane', '-p').trimEnd();
  }

  /** The same with its colours, as escape sequences. */
  coloured(): string {
    return this.tmux('capture-pane', '-e', '-p');
  }

  /** All that has scrolled out above it, and the screen; lines that were wrapped are whole. */
  history(): string[] {
    const text = this.tmux('capture-pane', '-p', '-J', '-S', '-').trimEnd();
    return text.split('\n').map((line) => line.trimEnd());
  }

  isAlternate(): boolean {
    return this.tmux('display-message', '-p', '#{alternate_on}').trim() === '1';
  }

  hasCursor(): boolean {
    return this.tmux('display-message', '-p', '#{cursor_flag}').trim() === '1';
  }

  /** Waits until the screen does, and gives it. */
  async shows(pattern: RegExp): Promise<string> {
    let last = '';
    const matches = () => {
      last = this.screen();
      return pattern.test(last);
    };
    try {
      await eventually(`the screen shows ${pattern}`, matches);
    } catch (error) {
      if (error instanceof Error) error.message += `; it shows:\n${last}`;
      throw error;
    }
    return last;
  }

  close(): void {
    this.undo();
  }

  private tmux(...args: string[]): string {
    return run('tmux', ['-S', join(this.folder, 'socket'), '-u', '-f', '/dev/null', ...args]);
  }
}
