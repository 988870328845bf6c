/** Files of /sys and /proc below a root that tests can choose; what is not there is null. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

export class Files {
  /** `root`: the folder that holds sys and proc, `/` on a machine. */
  constructor(private readonly root: string) {}

  /** Not normalized: `device/..` is what is above the device that the link leads to. */
  private at(path: string): string {
    return `${this.root}/${path}`;
  }

  text(path: string): string | null {
    try {
      return readFileSync(this.at(path), 'utf8').trim();
    } catch {
      return null; // not there, or not ours to read
    }
  }

  /** Of a file that holds one number, such as a sysctl. */
  number(path: string): number | null {
    const text = this.text(path);
    return text === null || !/^-?\d+$/.test(text) ? null : Number(text);
  }

  /** Names in a folder. */
  names(path: string): string[] {
    try {
      return readdirSync(this.at(path)).sort();
    } catch {
      return [];
    }
  }

  /** The last part of what a link points to. */
  target(path: string): string | null {
    try {
      return basename(readlinkSync(this.at(path)));
    } catch {
      return null;
    }
  }
}
