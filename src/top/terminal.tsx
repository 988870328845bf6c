/**
 * Draws with Ink, which knows terminals: keys, widths, what has changed. Loaded once a terminal is
 * there, since it asks the environment what it runs on as it is loaded.
 */
import { Box, type Key as InkKey, render, Text, useInput } from 'ink';
import { useMemo, useRef, useState } from 'react';
import { chosenRows, frame, type Line, roomFor, summaryLines, type Tone } from './frame.js';
import { firstLook, type Key, keyNames, pressed, within } from './look.js';
import type { Known } from './poller.js';
import type { Screen, Size } from './screen.js';

const hasColour = !process.env.NO_COLOR; // https://no-color.org

const colour = (name: string) => (hasColour ? { color: name } : {});
const tones: Readonly<Record<Tone, object>> = {
  plain: {},
  bar: { inverse: true },
  head: { bold: true },
  alarm: { bold: true, ...colour('yellow') },
  faint: { dimColor: true },
};

export interface Drawing {
  /** Draws what is known now, as large as the screen is now. */
  draw(known: Known): void;
  /** Resolves when the user has had enough. */
  readonly ended: Promise<unknown>;
  end(): void;
}

export function drawOn(screen: Screen, first: Known): Drawing {
  let isOver = false;
  const end = () => {
    isOver = true;
    instance.unmount();
  };
  const element = (known: Known) => <Top known={known} size={screen.size()} end={end} />;
  let last = first;
  const instance = render(element(first), {
    exitOnCtrlC: false, // it is a key as any other
    // it has all of a terminal that Ink asks for: see Screen
    stdout: screen as unknown as NodeJS.WriteStream,
    patchConsole: false,
  });
  const draw = (known: Known) => {
    if (isOver) return; // it would begin anew
    last = known;
    instance.rerender(element(known));
  };
  screen.onResize(() => draw(last));
  return { draw, ended: instance.waitUntilExit(), end };
}

interface TopProperties {
  readonly known: Known;
  readonly size: Size;
  readonly end: () => void;
}

function Top({ known, size, end }: TopProperties) {
  const [asked, setLook] = useState(firstLook);
  const newest = useRef(asked); // keys may come faster than they are drawn
  const { view, orders, filter } = asked;
  const { interval } = known;
  // biome-ignore lint/correctness/useExhaustiveDependencies: rows do not depend on what is scrolled
  const chosen = useMemo(() => chosenRows(interval, asked), [interval, view, orders, filter]);
  const summary = useMemo(() => summaryLines(interval), [interval]);
  const room = roomFor(size);
  const look = within(asked, { rows: chosen.rows.length, room });
  useInput((input, key) => {
    for (const each of keysOf(input, key)) {
      const next = pressed(newest.current, each, { rows: chosen.rows.length, room });
      if (next === null) return end();
      newest.current = next;
    }
    setLook(newest.current);
  });
  return (
    <Box flexDirection="column" width={size.columns}>
      {frame({ known, summary, look, chosen, size }).map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a line is its place on the screen
        <Row key={index} line={line} />
      ))}
    </Box>
  );
}

/** A line without a character would have no height. */
function Row({ line: { text, tone } }: { line: Line }) {
  return (
    <Text wrap="truncate" {...tones[tone]}>
      {text === '' ? ' ' : text}
    </Text>
  );
}

/** Ink's name of a key, where ours is another. */
const INK_NAMES: Partial<Record<(typeof keyNames)[number], keyof InkKey>> = {
  up: 'upArrow',
  down: 'downArrow',
  left: 'leftArrow',
  right: 'rightArrow',
  enter: 'return',
};

/** Names that Ink has no word for. */
const OURS = { backTab: true, interrupt: true };

/** What is typed fast, or pasted, comes as one text: each of its characters is a key. */
function keysOf(input: string, key: InkKey): Key[] {
  if (key.tab && key.shift) return [{ name: 'backTab' }];
  if (key.delete) return [{ name: 'backspace' }]; // what most terminals send for it
  for (const name of keyNames) {
    if (name in OURS) continue;
    if (key[INK_NAMES[name] ?? (name as keyof InkKey)] === true) return [{ name }];
  }
  if (key.ctrl && input === 'c') return [{ name: 'interrupt' }];
  if (key.ctrl || key.meta) return [];
  return [...input].flatMap((character): Key[] => {
    if (character === '\r' || character === '\n') return [{ name: 'enter' }];
    if (character === '\t') return [{ name: 'tab' }];
    if (character === '\x7f' || character === '\b') return [{ name: 'backspace' }];
    return character >= ' ' ? [{ character }] : [];
  });
}
