/** All of them, or the first failure once none is under way any more: nothing opens late. */
export async function together<Thing>(things: readonly Promise<Thing>[]): Promise<Thing[]> {
  await Promise.allSettled(things);
  return await Promise.all(things);
}
