/** What a soak of a group has found, beside what must hold. */
export interface Finding {
  readonly what: string;
  readonly wanted: string;
  readonly found: string;
  readonly isMet: boolean;
}

export class Findings {
  readonly rows: Finding[] = [];

  add(finding: Finding): void {
    this.rows.push(finding);
    console.log(`     ${textOf(finding)}`);
  }

  /** A count that must be 0. */
  none(what: string, count: number): void {
    this.add({ what, wanted: '0', found: String(count), isMet: count === 0 });
  }

  /** A figure that must not be above; -1: there is none. */
  atMost(what: string, figure: number, { max, unit }: { max: number; unit: string }): void {
    const isMet = figure >= 0 && figure <= max;
    const found = figure < 0 ? 'never' : `${Number(figure.toFixed(3))} ${unit}`;
    this.add({ what, wanted: `≤ ${max} ${unit}`, found, isMet });
  }

  /** So many times of so many. */
  always(what: string, count: number, of: number): void {
    const isMet = count === of && of > 0;
    this.add({ what, wanted: `${of} of ${of}`, found: `${count} of ${of}`, isMet });
  }

  /** What is told and not judged. */
  tell(what: string, found: string): void {
    this.add({ what, wanted: '', found, isMet: true });
  }

  /** As Markdown, so that it can be kept. */
  table(): string {
    const rows = this.rows.map(({ what, wanted, found, isMet }) => {
      const met = wanted === '' ? '' : isMet ? 'met' : 'MISSED';
      return `| ${what} | ${wanted} | ${found} | ${met} |`;
    });
    return ['| what | wanted | found | |', '| --- | --- | --- | --- |', ...rows].join('\n');
  }

  get isMet(): boolean {
    return this.rows.every((row) => row.isMet);
  }
}

function textOf({ what, wanted, found, isMet }: Finding): string {
  return `${isMet ? 'ok  ' : 'MISS'} ${what}: ${found}${wanted === '' ? '' : ` (wanted ${wanted})`}`;
}
