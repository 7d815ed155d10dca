/** Disposes of several resources at once. */

/** Disposes of all and waits for all, even when one fails; then throws the error of the first that failed. */
export async function releaseAll(all: Iterable<AsyncDisposable>): Promise<void> {
  const releases = [...all].map(async (one) => await one[Symbol.asyncDispose]());
  await Promise.allSettled(releases);
  await Promise.all(releases);
}
