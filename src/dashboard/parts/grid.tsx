/**
 * A table of any length, of which only the rows in sight are in the document. Its roles and
 * aria-rowindex tell a screen reader what is not there. A row is focused at a time: arrows, page,
 * home and end go from row to row, Tab to what can be done with the one.
 */
import { defaultRangeExtractor, useVirtualizer } from '@tanstack/react-virtual';
import {
  type KeyboardEvent,
  type ReactNode,
  useCallback,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react';

export interface Column<Row> {
  readonly title: string;
  /** Behind the title, smaller. */
  readonly unit?: string;
  /** At least, in rem; of what is left over it takes its share. */
  readonly width: number;
  /** To the right, and the largest first. */
  readonly isNumber?: boolean;
  /** `isActive`: what can be focused in it may be reached by Tab. */
  cell(row: Row, isActive: boolean): ReactNode;
  /** Absent: it is not sorted by. */
  order?(row: Row): number | string | null;
}

interface GridProps<Row> {
  readonly label: string;
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  keyOf(row: Row): string;
  /** Of the first order; null: as the rows come. */
  readonly sortedBy: number | null;
  /** Said where there are none. */
  readonly none: string;
  isAlarm?(row: Row): boolean;
}

/** Pixels; style.css has the same. */
const ROW_HEIGHT = 28;
const PAGE_ROWS = 10;
/** Above and below those in sight. */
const OVERSCAN = 6;

interface Order {
  readonly column: number;
  readonly isReversed: boolean;
}

export function Grid<Row>(props: GridProps<Row>): ReactNode {
  const { label, columns, keyOf, none, isAlarm } = props;
  const [order, setOrder] = useState<Order | null>(
    props.sortedBy === null ? null : { column: props.sortedBy, isReversed: false },
  );
  const rows = useMemo(() => sorted(props.rows, columns, order), [props.rows, columns, order]);
  const [activeKey, setActiveKey] = useState<string | null>(null);
  const lastIndex = useRef(0);
  const found = rows.findIndex((row) => keyOf(row) === activeKey);
  const active = found >= 0 ? found : Math.min(lastIndex.current, Math.max(0, rows.length - 1));
  lastIndex.current = active;
  const scroll = useRef<HTMLDivElement>(null);
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
    scrollPaddingStart: ROW_HEIGHT,
    getItemKey: useCallback((index: number) => keyOf(rows[index] as Row), [rows, keyOf]), // in range
    rangeExtractor: (range) => withActive(defaultRangeExtractor(range), active, rows.length),
  });
  const goTo = (index: number) => {
    const row = rows[index];
    if (row === undefined) return;
    setActiveKey(keyOf(row));
    virtualizer.scrollToIndex(index);
    wantsFocus.current = true;
  };
  const wantsFocus = useKeptFocus(scroll);
  const tracks = columns.map(({ width }) => `minmax(${width}rem, ${width}fr)`).join(' ');
  const minWidth = `${columns.reduce((sum, { width }) => sum + width, 0)}rem`;
  if (rows.length === 0) return <p className="none">{none}</p>;
  return (
    <div
      className="grid"
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length}
      ref={scroll}
      onKeyDown={(event) => {
        const to = keyTarget(event, active, rows.length);
        if (to === null) return;
        event.preventDefault();
        goTo(to);
      }}
    >
      <div role="rowgroup" className="head" style={{ minWidth }}>
        <div role="row" aria-rowindex={1} className="row" style={{ gridTemplateColumns: tracks }}>
          {columns.map((column, index) => (
            <Head
              key={`${column.title} ${column.unit}`}
              column={column}
              order={order?.column === index ? order : null}
              onSort={() => setOrder(nextOrder(order, index))}
            />
          ))}
        </div>
      </div>
      <div
        role="rowgroup"
        className="body"
        style={{ minWidth, height: virtualizer.getTotalSize() }}
      >
        {virtualizer.getVirtualItems().map(({ index, key, start }) => {
          const row = rows[index] as Row; // the virtualizer's count is theirs
          const [isActive, onFocus] = [index === active, () => setActiveKey(String(key))];
          const how = { row, columns, tracks, index, start, isActive, onFocus };
          return <BodyRow key={key} isAlarm={isAlarm?.(row) === true} {...how} />;
        })}
      </div>
    </div>
  );
}

function BodyRow<Row>(props: {
  readonly row: Row;
  readonly columns: readonly Column<Row>[];
  readonly tracks: string;
  readonly index: number;
  /** Pixels from the first row. */
  readonly start: number;
  readonly isActive: boolean;
  readonly isAlarm: boolean;
  onFocus(): void;
}): ReactNode {
  const { row, columns, tracks, index, start, isActive, isAlarm, onFocus } = props;
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={isAlarm ? 'row alarm' : 'row'}
      style={{ gridTemplateColumns: tracks, transform: `translateY(${start}px)` }}
      tabIndex={isActive ? 0 : -1}
      onFocus={onFocus}
    >
      {columns.map((column, at) => (
        <div
          key={`${column.title} ${column.unit}`}
          role={at === 0 ? 'rowheader' : 'gridcell'}
          className={column.isNumber ? 'cell number' : 'cell'}
        >
          {column.cell(row, isActive)}
        </div>
      ))}
    </div>
  );
}

function Head<Row>(props: {
  readonly column: Column<Row>;
  /** Null: it is not sorted by this one. */
  readonly order: Order | null;
  onSort(): void;
}): ReactNode {
  const { column, order, onSort } = props;
  const text = (
    <>
      {column.title}
      {column.unit === undefined ? null : <small> {column.unit}</small>}
    </>
  );
  const descends = (column.isNumber === true) !== (order?.isReversed === true);
  return (
    <div
      role="columnheader"
      className={column.isNumber ? 'cell number' : 'cell'}
      {...(order === null ? {} : { 'aria-sort': descends ? 'descending' : 'ascending' })}
    >
      {column.order === undefined ? (
        text
      ) : (
        <button type="button" className="sort" onClick={onSort}>
          {text}
          <span aria-hidden="true" className="mark">
            {order === null ? '' : descends ? '▼' : '▲'}
          </span>
        </button>
      )}
    </div>
  );
}

const KINDS = ['focusin', 'pointerdown'] as const;

/**
 * The focus stays in the table when the row that had it is gone. The result: whether the active row
 * is to be focused once it is there.
 */
function useKeptFocus(scroll: { readonly current: HTMLDivElement | null }): { current: boolean } {
  const wantsFocus = useRef(false);
  const isInside = useRef(false);
  useLayoutEffect(() => {
    const look = ({ target }: Event) => {
      isInside.current = scroll.current?.contains(target as Node) === true; // an event's target
    };
    // a press beside it takes the focus away without giving it to anything
    for (const name of KINDS) document.addEventListener(name, look);
    return () => {
      for (const name of KINDS) document.removeEventListener(name, look);
    };
  }, [scroll]);
  useLayoutEffect(() => {
    const isLost = isInside.current && document.activeElement === document.body;
    if (!wantsFocus.current && !isLost) return;
    const row = scroll.current?.querySelector<HTMLElement>('.body > [tabindex="0"]');
    if (row === null || row === undefined) return;
    wantsFocus.current = false;
    row.focus({ preventScroll: true });
  });
  return wantsFocus;
}

function withActive(indexes: number[], active: number, count: number): number[] {
  if (active >= count || indexes.includes(active)) return indexes;
  return [...indexes, active].sort((a, b) => a - b);
}

/** Where a key leads to; null: it is none of ours. */
function keyTarget(event: KeyboardEvent, active: number, count: number): number | null {
  const { target } = event;
  if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) return null;
  const wanted: Readonly<Record<string, number>> = {
    ArrowDown: active + 1,
    ArrowUp: active - 1,
    PageDown: active + PAGE_ROWS,
    PageUp: active - PAGE_ROWS,
    Home: 0,
    End: count - 1,
  };
  const to = wanted[event.key];
  return to === undefined ? null : Math.max(0, Math.min(count - 1, to));
}

function nextOrder(order: Order | null, column: number): Order {
  return { column, isReversed: order?.column === column && !order.isReversed };
}

/** Rows of equal cells stay as they come; what is not known yet is last. */
function sorted<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  order: Order | null,
): readonly Row[] {
  const column = order === null ? undefined : columns[order.column];
  const orderOf = column?.order;
  if (order === null || orderOf === undefined) return rows;
  const sign = (column?.isNumber === true) === order.isReversed ? 1 : -1;
  return rows
    .map((row) => ({ row, by: orderOf(row) }))
    .sort((a, b) => {
      if (a.by === null || b.by === null) return Number(a.by === null) - Number(b.by === null);
      return a.by === b.by ? 0 : a.by < b.by ? -sign : sign;
    })
    .map(({ row }) => row);
}
