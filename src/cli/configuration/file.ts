/**
 * A configuration file as YAML 1.2, with the place of everything in it. `yaml` is used for that: of
 * the parsers of npm it keeps the place of each node, and it reads 1.2, in which `no` is a word.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { type Place, placeText } from '../../domain/configuration.js';
import { Failure, messageOf } from '../../domain/errors.js';

/** 4096 subscribers, each with all that it may have, are some 600 KB. */
const SIZE_MAX = 4 * 1024 * 1024;

/** What is wrong, where, and what to do. */
export interface Fault extends Place {
  readonly message: string;
}

export const faultText = (fault: Fault): string => `${placeText(fault)}: ${fault.message}`;

/** `key: value` at the top of a file. */
export interface Entry {
  readonly key: string;
  readonly at: Place;
  /** Null: there is nothing behind the colon. */
  readonly value: Node | null;
}

export class ConfigFile {
  readonly faults: Fault[] = [];
  readonly entries: Entry[] = [];
  private readonly lines = new LineCounter();
  private readonly document: Document;

  constructor(
    readonly path: string,
    text: string,
  ) {
    this.document = parseDocument(text, { lineCounter: this.lines, prettyErrors: false });
    const { errors, warnings, contents } = this.document;
    for (const { pos, message } of [...errors, ...warnings])
      this.faults.push({ ...this.placeOf(pos[0]), message: message.split('\n')[0] ?? '' });
    if (this.faults.length === 0) this.findAliases();
    if (this.faults.length > 0 || contents === null) return;
    if (isMap(contents)) this.take(contents.items);
    else this.fault(contents, 'a configuration file has lines such as: interface: eth1');
  }

  /** One that stands for nothing is told wherever it is: what it was meant for is not known. */
  private findAliases(): void {
    visit(this.document, {
      Alias: (_, alias) => {
        if (alias.resolve(this.document) === undefined)
          this.fault(alias, `nothing above is marked as &${alias.source}`);
      },
    });
  }

  private take(items: readonly unknown[]): void {
    for (const item of items) {
      if (!isPair(item)) continue;
      const { key, value } = item;
      const node = isNode(value) ? this.resolved(value) : null;
      if (isScalar(key) && typeof key.value === 'string')
        this.entries.push({ key: key.value, at: this.at(key), value: node });
      else this.fault(isNode(key) ? key : null, 'a key is a word, such as interface');
    }
  }

  /** What an alias stands for. */
  resolved(node: Node): Node | null {
    return isAlias(node) ? (node.resolve(this.document) ?? null) : node;
  }

  at(node: Node | null): Place {
    return this.placeOf(node?.range?.[0] ?? 0);
  }

  private placeOf(offset: number): Place {
    const { line, col } = this.lines.linePos(offset);
    return { file: this.path, line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  fault(node: Node | Place | null, message: string): void {
    const at = node !== null && 'line' in node ? (node as Place) : this.at(node as Node | null);
    this.faults.push({ ...at, message });
  }

  /** As one reads: from its top. */
  get inOrder(): readonly Fault[] {
    return this.faults.sort((a, b) => a.line - b.line || a.column - b.column);
  }

  /** As a value without places; null: it has none, which is told, such as a list within itself. */
  plain(node: Node): { readonly value: unknown } | null {
    try {
      return { value: node.toJS(this.document, { maxAliasCount: 100 }) };
    } catch (thrown) {
      this.fault(node, messageOf(thrown));
      return null;
    }
  }

  /**
   * Where a value stands, by the keys and numbers that lead there; where it does not stand, the
   * last of them that does.
   */
  placeOfPath(from: Node, path: readonly PropertyKey[]): Place {
    let found = from;
    for (const step of path) {
      const next: unknown = isSeq(found)
        ? found.items[Number(step)]
        : isMap(found)
          ? found.get(step, true)
          : null;
      const node = isNode(next) ? this.resolved(next) : null;
      if (node === null) break;
      found = node;
    }
    return this.at(found);
  }
}

/** Throws Failure where it cannot be read. */
export function readConfigFile(path: string): ConfigFile {
  const refuse = (why: string) => new Failure(`cannot read the configuration: ${why}`);
  let text: string;
  try {
    // a pipe that nobody writes to would be waited for
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = fstatSync(file);
      if (!fstatSync(file).isFile()) throw new Error(`${path} is no file`);
      if (size > SIZE_MAX) throw new Error(`${path} has ${size} bytes; ${SIZE_MAX} are read`);
      text = readFileSync(file, 'utf8');
    } finally {
      closeSync(file);
    }
  } catch (thrown) {
    throw refuse(messageOf(thrown));
  }
  return new ConfigFile(path, text);
}
