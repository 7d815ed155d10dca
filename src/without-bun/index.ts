/**
 * What `import "rfaas"` and `import "rfaas/testing"` are in Node and Deno, by the condition `node` of the package: errors of the same
 * classes, and functions that say what to do instead of a loader's stack. It uses nothing of Bun's.
 *
 * `rfaas/function` needs no such file: it is the same everywhere, so that a module of functions can be tested in Node.
 */
import { PlatformUnsupported } from "../base/errors.ts";

export * from "../base/errors.ts";

/** As the one for Bun is called. Rejects with {@link PlatformUnsupported}. */
export async function invoker(): Promise<never> {
  throw needsBun("invoker()");
}

/** As the one for Bun is called. Rejects with {@link PlatformUnsupported}. */
export async function testWorker(): Promise<never> {
  throw needsBun("testWorker()");
}

function needsBun(what: string): PlatformUnsupported {
  return new PlatformUnsupported(
    `${what} of rfaas needs Bun, and this program runs in ${runtime()}; run it with Bun (bun FILE), or with the rfaas executable, which has Bun inside (rfaas run FILE): there are no clients for other runtimes and languages yet`,
  );
}

function runtime(): string {
  const { deno, node } = process.versions;
  return deno === undefined ? `Node ${node}` : `Deno ${deno}`;
}
