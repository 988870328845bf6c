/**
 * A configuration file as YAML 1.2, with the place of everything in it. `yaml` is used for that: of
 * the parsers of npm it keeps the place of each node, and it reads 1.2, in which `no` is a word.
 */
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
import { readWhole } from '../../domain/process/whole-file.js';

/** 4096 subscribers, each with all that it may have, are some 600 KB. */
const SIZE_MAX = 4 * 1024 * 1024;

/** What is wrong, where, and what to do. */
export interface Fault extends Place {
  readonly message: string;
  /** The file may be right, and what it names was not to be read just now. */
  readonly isFailure?: true;
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
    const options = { lineCounter: this.lines, prettyErrors: false };
    // its own check of that compares each with each
    this.document = parseDocument(text, { ...options, uniqueKeys: false });
    const { errors, warnings, contents } = this.document;
    for (const { pos, message } of [...errors, ...warnings])
      this.faults.push({ ...this.placeOf(pos[0]), message: message.split('\n')[0] ?? '' });
    if (this.faults.length === 0) this.walk();
    if (this.faults.length > 0 || contents === null) return;
    if (isMap(contents)) this.take(contents.items);
    else this.fault(contents, 'a configuration file has lines such as: interface: eth1');
  }

  /**
   * Keys that are there twice; aliases that stand for nothing, told wherever they are: what one was
   * meant for is not known.
   */
  private walk(): void {
    visit(this.document, {
      Map: (_, { items }) => {
        const seen = new Set<string>();
        for (const { key } of items) {
          if (!isScalar(key)) continue;
          const word = String(key.value);
          if (seen.has(word)) this.fault(key, `${word} is there already; each key is there once`);
          seen.add(word);
        }
      },
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
    this.faults.push({ ...this.placeOfAny(node), message });
  }

  /** What it names cannot be read, or is not what it should be. */
  failure(node: Node | Place | null, message: string): void {
    this.faults.push({ ...this.placeOfAny(node), message, isFailure: true });
  }

  private placeOfAny(node: Node | Place | null): Place {
    return node !== null && 'line' in node ? (node as Place) : this.at(node as Node | null);
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
  let text: string;
  try {
    text = readWhole(path, SIZE_MAX).bytes.toString();
  } catch (thrown) {
    throw new Failure(`cannot read the configuration: ${messageOf(thrown)}`);
  }
  return new ConfigFile(path, text);
}
