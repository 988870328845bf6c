/**
 * Families as the text that Prometheus reads. prom-client writes it (escapes, order, `# TYPE`): it
 * takes any metric that can say what it is, so no counter is kept twice.
 */
import { type Metric, Registry } from 'prom-client';
import type { Family } from './families.js';

export const CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

export async function expositionOf(families: readonly Family[]): Promise<string> {
  const registry = new Registry();
  for (const { name, help, type, samples } of families) {
    const values = samples.map(({ value, labels, suffix }) => {
      return { value, labels, ...(suffix === undefined ? {} : { metricName: name + suffix }) };
    });
    // what the registry asks of a metric; its type names the classes of the library alone
    const told = { name, get: () => Promise.resolve({ name, help, type, values }) };
    registry.registerMetric(told as unknown as Metric);
  }
  return await registry.metrics();
}
