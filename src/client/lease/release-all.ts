/** Giving several things back at once. */

/** Disposes of all, whatever becomes of one of them, and waits for all; throws what the first one that failed has thrown. */
export async function releaseAll(all: Iterable<AsyncDisposable>): Promise<void> {
  const releases = [...all].map(async (one) => await one[Symbol.asyncDispose]());
  await Promise.allSettled(releases);
  await Promise.all(releases);
}
