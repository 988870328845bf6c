/** Counts by name, and numbers of things in sentences. */

/** Counts by name, as in the enums of layout.ts. */
export type Counts = Record<string, number>;

export function sumOf(counts: Counts): number {
  return Object.values(counts).reduce((sum, number) => sum + number, 0);
}

/** What was counted since `before`; a counter that went back has begun anew. */
export function countsSince(now: Counts, before: Counts): Counts {
  const since = Object.entries(now).map(([name, number]) => {
    const then = before[name] ?? 0;
    return [name, number < then ? number : number - then] as const;
  });
  return Object.fromEntries(since);
}

/** `name=count` of those that are not zero. */
export function countsText(counts: Counts): string {
  const seen = Object.entries(counts).filter(([, number]) => number !== 0);
  return seen.map(([name, number]) => `${name}=${number}`).join(' ');
}

/** `1 subscriber`, `2 subscribers`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
