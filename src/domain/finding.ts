/**
 * What can be wrong with a machine, an interface or what is asked of them: what was found, why it
 * matters here, and the line that mends it. `up` refuses or warns by these, `doctor` lists all.
 *
 * A room has a table of the kinds that it finds; docs/doctor.md shows all tables, row by row.
 */

/** must: it does not work so. better: it works, and worse than it could. */
export type Level = 'better' | 'must';

/** A kind of finding. In each text `{place}` stands for a word of the finding at hand. */
export interface Kind {
  readonly level: Level;
  readonly why: string;
  /** A line for a shell with all rights. */
  readonly cure?: string;
  /** It concerns the network: where that is another namespace, the line is to run there. */
  readonly isOfNetwork?: boolean;
  /** The same command as root mends it. */
  readonly isRights?: boolean;
  /** Flags with which to start fantail instead of those given of the same name. */
  readonly flags?: string;
  /** What must be so for the flags to be right, where only the user knows. */
  readonly flagsIf?: string;
  /** What else can be done; all that can where there is neither line nor flag. */
  readonly instead?: string;
}

export interface Finding {
  readonly name: string;
  readonly level: Level;
  readonly what: string;
  readonly why: string;
  /** Null: there is none, in this case or in any. */
  readonly cure: string | null;
  readonly isOfNetwork: boolean;
  readonly isRights: boolean;
  readonly flags: string | null;
  readonly flagsIf: string | null;
  readonly instead: string | null;
}

/** What a shell does not take as it is. */
const SPECIAL = /[^\w@%+=:,./-]/;

/** A word as a shell takes it for itself. */
export const quoted = (word: string): string =>
  SPECIAL.test(word) || word === '' ? `'${word.replaceAll("'", "'\\''")}'` : word;

/** Places of names that others chose, such as an interface; what stands in the rest is ours. */
const NAMES = ['interface', 'peer'];

type Places = Readonly<Record<string, string | number>>;

export type Kinds = Readonly<Record<string, Kind>>;

/**
 * Makes findings of a table of kinds. A text with a place that is not given is left out: that line
 * would not mend this.
 */
export function finder<Table extends Kinds>(table: Table) {
  return (
    name: keyof Table & string,
    what: string,
    { level, ...places }: Places & { readonly level?: Level } = {},
  ): Finding => {
    const kind: Kind = table[name] as Kind; // name is a key of it
    return {
      name,
      level: level ?? kind.level,
      what,
      why: kind.why,
      cure: filled(kind.cure, places),
      isOfNetwork: kind.isOfNetwork === true,
      isRights: kind.isRights === true,
      flags: filled(kind.flags, places),
      flagsIf: kind.flagsIf ?? null,
      instead: filled(kind.instead, places),
    };
  };
}

/** What was found and what to do, as one sentence without a full stop. */
export function sentenceOf({ what, cure, flags, flagsIf, instead }: Finding): string {
  const line = cure === null ? null : `mend it with: ${cure}`;
  const when = flagsIf === null ? '' : `${flagsIf}, `;
  const start = flags === null ? null : `${when}start fantail up ${flags}`;
  const or = flagsIf === null ? ', or ' : ', or, ';
  const both = line === null || start === null ? null : line + or + start;
  const way = both ?? line ?? start ?? instead;
  return way === null ? what : `${what}; ${way}`;
}

function filled(text: string | undefined, places: Places): string | null {
  if (text === undefined) return null;
  let isWhole = true;
  const result = text.replaceAll(/\{(\w+)\}/g, (_, place: string) => {
    const word = places[place];
    if (word === undefined) isWhole = false;
    return NAMES.includes(place) ? quoted(String(word)) : String(word);
  });
  return isWhole ? result : null;
}
