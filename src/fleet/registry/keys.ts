/**
 * Where in etcd a group keeps what it knows: one prefix a group.
 *
 *     /fantail/GROUP/feeds/NAME           where a feed is sent to
 *                    subscribers/IP:PORT  who is subscribed, to what, by which filter
 *                    filters/NAME         the module that a name means
 *                    default              the filter of those that name none
 *                    modules/SHA256       bytes
 *                    pins/NNN             a shard that somebody has moved: to whom
 *                    lasting/NAME         who has joined and not left: it may serve without a lease
 *                    members/NAME         who lives; under the member's lease, as what follows
 *                    reports/NAME         what a member tells of itself
 *                    shards/NNN           whose a shard is
 */

export type Kind =
  | 'feeds'
  | 'subscribers'
  | 'filters'
  | 'modules'
  | 'pins'
  | 'lasting'
  | 'members'
  | 'reports'
  | 'shards';

/** Of a group, and of a member: a word that a key can have in it. */
export const isName = (text: string): boolean => /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text);
export const NAME_RULE = '1 to 63 of A-Z a-z 0-9 . _ - and begins with a letter or digit';

/** Digits of a shard's number, so that keys are in its order. */
const SHARD_DIGITS = 3;

export class Keys {
  readonly prefix: string;

  constructor(readonly group: string) {
    this.prefix = `/fantail/${group}/`;
  }

  get default(): string {
    return `${this.prefix}default`;
  }

  of(kind: Kind, name: string | number): string {
    const text = typeof name === 'number' ? String(name).padStart(SHARD_DIGITS, '0') : name;
    return `${this.prefix}${kind}/${text}`;
  }

  /** Of what kind a key is, and its name; null: of none that is known. */
  parse(key: string): { readonly kind: string; readonly name: string } | null {
    if (!key.startsWith(this.prefix)) return null;
    const [kind = '', ...rest] = key.slice(this.prefix.length).split('/');
    return { kind, name: rest.join('/') };
  }
}
