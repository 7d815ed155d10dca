/**
 * Tenants try to get out of their room, beside a victim that computes on. `tables/` says what is tried, what must stop it, and how the
 * same goes without a sandbox: an attempt that could not succeed would show nothing.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { ServedNode } from "../support/executable.ts";
import type { Attempt } from "./attempt.ts";
import { Stage } from "./stage.ts";
import { NATIVE } from "./tables/native.ts";
import { TYPESCRIPT } from "./tables/typescript.ts";
import { Attacker } from "./try.ts";
import { SANDBOX, sandboxIsThere } from "./which.ts";

const LIMIT_MS = 180_000;
const IS_ROOT = process.getuid!() === 0;
const IN_CONTAINER = SANDBOX !== "process";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open(sandboxIsThere ? SANDBOX : "none");
}, LIMIT_MS);
afterAll(async () => await stage?.[Symbol.asyncDispose]());

const TABLES = [
  ...NATIVE.map(([group, attempts]) => [`native code: ${group}`, attempts] as const),
  ...TYPESCRIPT.map(([group, attempts]) => [`TypeScript: ${group}`, attempts] as const),
];

type Outcomes = Record<string, string>;
async function outcomes(node: ServedNode, attempts: readonly Attempt[]): Promise<Outcomes> {
  const found: Outcomes = {};
  await using attacker = new Attacker(stage, node);
  for (const attempt of attempts) found[attempt.name] = await attacker.try(attempt);
  return found;
}

/** Errors that a room explains to the caller are as good as those that the system gives. */
const EXPLAINED = ["EACCES", "EPERM", "ECONNREFUSED"];
/** In a container the files of the node are not there at all. */
const ABSENT = ["ENOENT", "EROFS"];
const isHeld = ({ held, attacks }: Attempt, outcome: string): boolean =>
  held.includes(outcome) ||
  (IN_CONTAINER && attacks === "files" && ABSENT.includes(outcome)) ||
  (outcome === "RFAAS_NOT_ALLOWED" && held.some((error) => EXPLAINED.includes(error)));

/** What is wrong, by attempt: nothing, when all is as it should be. */
function wrong(
  attempts: readonly Attempt[],
  found: Outcomes,
  right: (attempt: Attempt, outcome: string) => boolean,
): Outcomes {
  const others = attempts.filter((attempt) => !right(attempt, found[attempt.name]!));
  return Object.fromEntries(others.map(({ name }) => [name, found[name]!]));
}

describe.each(TABLES)("%s", (_, all) => {
  // First, since some controls use up what they reach.
  test.skipIf(!sandboxIsThere)(
    "nothing is reached from a room, and the victim computes on",
    async () => {
      const guarded = all.filter(
        ({ attacks }) => attacks === "kernel" || stage.guards.has(attacks),
      );
      expect(all.filter((attempt) => !guarded.includes(attempt)).map(({ name }) => name)).toEqual(
        [],
      );
      const asserted = guarded.filter(
        ({ notYet, containersOwn }) =>
          notYet === undefined && !(IN_CONTAINER && containersOwn !== undefined),
      );
      const found = await stage.beside(() => outcomes(stage.node, asserted));
      expect(wrong(asserted, found, isHeld)).toEqual({});
    },
    LIMIT_MS,
  );

  const open = all.filter(({ notYet }) => notYet !== undefined);
  if (sandboxIsThere && !IN_CONTAINER && open.length > 0)
    test(
      "what is not held yet is what the table says",
      async () => {
        const found = await outcomes(stage.node, open);
        for (const { name, notYet } of open) console.error(`NOT HELD YET: ${name}: ${notYet}`);
        // Take it off the table's list where it is held.
        expect(wrong(open, found, (attempt, outcome) => !isHeld(attempt, outcome))).toEqual({});
      },
      LIMIT_MS,
    );

  test(
    "all of it succeeds without a sandbox",
    async () => {
      const possible = all.filter(({ asRoot }) => IS_ROOT || !asRoot);
      const found = await outcomes(stage.control, possible);
      const succeeds = ({ control }: Attempt, outcome: string) => control.includes(outcome);
      expect(wrong(possible, found, succeeds)).toEqual({});
    },
    LIMIT_MS,
  );
});
