/**
 * How one looks at the tables: which one, how it is sorted and filtered, from which row on. Pure: a
 * key makes a look of a look.
 */
import { type Order, type ViewName, viewNames, views } from './views.js';

/** Characters of a filter. */
const FILTER_LENGTH_MAX = 200;

export interface Look {
  readonly view: ViewName;
  readonly orders: Readonly<Record<ViewName, Order>>;
  readonly filter: string;
  /** The filter before `/`, while another is typed; null: none is. */
  readonly filterBefore: string | null;
  /** The first row that is shown. */
  readonly top: number;
}

/** One key: a character, or one of these. */
export type Key = { readonly character: string } | { readonly name: (typeof keyNames)[number] };

export const keyNames = [
  ...(['up', 'down', 'left', 'right', 'pageUp', 'pageDown', 'home', 'end'] as const),
  ...(['enter', 'escape', 'tab', 'backTab', 'backspace', 'interrupt'] as const),
];

/** How many rows the table has, and how many of them there is room for. */
export interface Extent {
  readonly rows: number;
  readonly room: number;
}

export const firstLook: Look = {
  view: 'subscribers',
  orders: {
    subscribers: { column: views.subscribers.sortedBy, isReversed: false },
    feeds: { column: views.feeds.sortedBy, isReversed: false },
    workers: { column: views.workers.sortedBy, isReversed: false },
    drops: { column: views.drops.sortedBy, isReversed: false },
  },
  filter: '',
  filterBefore: null,
  top: 0,
};

/** What is meant by a key where no filter is typed. */
const MEANINGS: Readonly<Record<string, (look: Look, extent: Extent) => Look>> = {
  up: (look) => ({ ...look, top: look.top - 1 }),
  down: (look) => ({ ...look, top: look.top + 1 }),
  pageUp: (look, { room }) => ({ ...look, top: look.top - room }),
  pageDown: (look, { room }) => ({ ...look, top: look.top + room }),
  home: (look) => ({ ...look, top: 0 }),
  end: (look, { rows }) => ({ ...look, top: rows }),
  left: (look) => sortedBy(look, look.orders[look.view].column - 1),
  right: (look) => sortedBy(look, look.orders[look.view].column + 1),
  tab: (look) => nextView(look, 1),
  backTab: (look) => nextView(look, -1),
  escape: (look) => ({ ...look, filter: '', top: 0 }),
  r: (look) => {
    const { column, isReversed } = look.orders[look.view];
    return withOrder(look, { column, isReversed: !isReversed });
  },
  '/': (look) => ({ ...look, filterBefore: look.filter, filter: '' }),
};

/** Characters that mean the same as another key, as in less and top. */
const SAME: Readonly<Record<string, string>> = {
  k: 'up',
  j: 'down',
  b: 'pageUp',
  ' ': 'pageDown',
  g: 'home',
  G: 'end',
  '<': 'left',
  '>': 'right',
};

/** The look after that key; null: it was `q`, or Ctrl-C. */
export function pressed(look: Look, key: Key, extent: Extent): Look | null {
  if ('name' in key && key.name === 'interrupt') return null;
  if (look.filterBefore !== null) return within(typed(look, key, look.filterBefore), extent);
  const word = 'name' in key ? key.name : key.character;
  if (word === 'q') return null;
  if (/^[1-9]$/.test(word)) return sortedBy(look, Number(word) - 1);
  const meaning = MEANINGS[SAME[word] ?? word];
  return meaning === undefined ? look : within(meaning(look, extent), extent);
}

/** The rows that are shown are rows that there are. */
export function within(look: Look, { rows, room }: Extent): Look {
  const top = Math.max(0, Math.min(look.top, rows - room));
  return top === look.top ? look : { ...look, top };
}

function typed(look: Look, key: Key, before: string): Look {
  const { filter } = look;
  if ('character' in key) {
    const longer = (filter + key.character).slice(0, FILTER_LENGTH_MAX);
    return { ...look, filter: longer, top: 0 };
  }
  switch (key.name) {
    case 'enter':
      return { ...look, filterBefore: null };
    case 'escape':
      return { ...look, filter: before, filterBefore: null };
    case 'backspace': // of nothing: as in less, it is not typed any more
      return filter === ''
        ? { ...look, filter: before, filterBefore: null }
        : { ...look, filter: filter.slice(0, -1), top: 0 };
    default:
      return look;
  }
}

function nextView(look: Look, step: number): Look {
  const index = viewNames.indexOf(look.view) + step + viewNames.length;
  return { ...look, view: viewNames[index % viewNames.length] ?? look.view, top: 0 };
}

/** A column that there is none of is the nearest. */
function sortedBy(look: Look, column: number): Look {
  const last = views[look.view].columns.length - 1;
  return withOrder(look, { column: Math.max(0, Math.min(column, last)), isReversed: false });
}

function withOrder(look: Look, order: Order): Look {
  return { ...look, orders: { ...look.orders, [look.view]: order }, top: 0 };
}
