/**
 * What operators told the manager of nodes: which to expect, which to drain. Kept in a file of the state directory, so that a
 * restarted manager still knows it; what nodes say themselves they say again.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { EnvironmentError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { MAX_NODES, type Registry } from "./registry.ts";

const FILE_NAME = "nodes.json";
const PERMISSION_BITS = 0o600;

const Wish = Type.Object({
  name: Type.String(),
  /** Null for a node that registered by itself. */
  expected: Type.Union([
    Type.Object({
      name: Type.String(),
      address: Type.String(),
      cores: Type.Integer({ minimum: 0 }),
      memoryBytes: Type.Number({ minimum: 0 }),
    }),
    Type.Null(),
  ]),
  /** By the wall clock: until when it is to be empty; null when it may serve. */
  drainUntilMs: Type.Union([Type.Number(), Type.Null()]),
  /** It was told to serve again, and may not have heard it. */
  resumed: Type.Boolean(),
  /** It was taken out of the cluster, and where it was found. */
  removedAt: Type.Optional(Type.String()),
});
const Wishes = Type.Object({
  version: Type.Literal(1),
  nodes: Type.Array(Wish, { maxItems: 2 * MAX_NODES }),
});

/**
 * Restores the stored wishes to a registry that has none.
 *
 * @throws {EnvironmentError} the file is damaged
 */
export function restoreWishes(registry: Registry, stateDir: string): void {
  const nowMs = performance.now();
  for (const { expected, drainUntilMs, ...wish } of read(join(stateDir, FILE_NAME)).nodes) {
    const drainLeftMs = drainUntilMs === null ? undefined : Math.max(0, drainUntilMs - Date.now());
    registry.restore({ ...wish, expected: expected ?? undefined, drainLeftMs }, nowMs);
  }
}

/** Stores each new wish while `leads`. The manager follows one that it cannot store, too; `onProblem` hears of it. */
export function keepWishes(
  registry: Registry,
  stateDir: string,
  { leads, onProblem }: { leads(): boolean; onProblem(message: string): void },
): void {
  const path = join(stateDir, FILE_NAME);
  registry.onWish(() => {
    if (!leads()) return;
    try {
      write(path, registry);
    } catch (error) {
      onProblem(
        `the wishes for nodes cannot be stored in ${path}: ${reasonOf(error)}; they are lost when the manager stops`,
      );
    }
  });
}

function read(path: string): Static<typeof Wishes> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { version: 1, nodes: [] };
    throw damaged(path, error);
  }
  try {
    return Value.Decode(Wishes, JSON.parse(text));
  } catch (error) {
    throw damaged(path, error);
  }
}

function write(path: string, registry: Registry): void {
  const nodes = registry.wishes(performance.now()).map(({ expected, drainLeftMs, ...wish }) => ({
    ...wish,
    expected: expected ?? null,
    drainUntilMs: drainLeftMs === undefined ? null : Math.round(Date.now() + drainLeftMs),
  }));
  const fresh = `${path}.${process.pid}.new`;
  try {
    writeFileSync(fresh, JSON.stringify({ version: 1, nodes }, null, 1), {
      mode: PERMISSION_BITS,
      flush: true,
    });
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
}

function damaged(path: string, error: unknown): EnvironmentError {
  return new EnvironmentError(
    `${path} cannot be read: ${reasonOf(error)}; restore it, or remove it to forget which nodes were expected or drained`,
    { cause: error },
  );
}
