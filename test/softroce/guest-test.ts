/** What the tests with guests share. */
import { test } from "bun:test";
import { until } from "../support/until.ts";
import type { GuestProcess } from "./commands.ts";
import type { Guest } from "./guest.ts";

/** A test whose failure shows what the guests' consoles have shown. */
export function guestTest(name: string, guests: () => Guest[], body: () => Promise<void>): void {
  test(name, async () => {
    try {
      await body();
    } catch (error) {
      for (const guest of guests()) console.error(`console of "${guest.name}":\n${guest.console}`);
      throw error;
    }
  });
}

/** Until the process has printed `what`; throws when it ends before. */
export async function waitFor(
  process: GuestProcess,
  what: string | RegExp,
  limitMs = 30_000,
): Promise<void> {
  let exitCode: number | undefined;
  void process.exited.then((code) => (exitCode = code)).catch(() => (exitCode = -1));
  await until(
    () => {
      if (process.output.search(what) >= 0) return true;
      if (exitCode !== undefined)
        throw new Error(`it ended with ${exitCode} before it said "${what}":\n${process.output}`);
      return false;
    },
    `"${what}" in:\n${process.output}`,
    limitMs,
  );
}
