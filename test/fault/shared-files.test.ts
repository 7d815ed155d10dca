/** Two state directories that share their tables over a real etcd: what becomes of changes while one of both is not there to hear of them. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { Etcd } from "../../src/manager/cluster-state/etcd/client.ts";
import { CommonTexts } from "../../src/manager/cluster-state/etcd/common-texts.ts";
import { FileMirror } from "../../src/manager/cluster-state/etcd/file-mirror.ts";
import { readPlace } from "../../src/manager/cluster-state/etcd/place.ts";
import { readShared, writeShared } from "../../src/manager/cluster-state/shared-files.ts";
import { FileRecords } from "../../src/manager/state/records.ts";
import { RunningEtcd, whyNoEtcd } from "../support/etcd.ts";
import { Scratch } from "../support/scratch.ts";

const TABLE = "users.json";
const why = whyNoEtcd();
if (why !== undefined) console.warn(`skipped: ${why}`);

describe.skipIf(why !== undefined)("tables that managers share", () => {
  let scratch: Scratch;
  let etcd: RunningEtcd;

  /** A manager's share, from when it is started. */
  const started = (name: string): FileMirror =>
    new FileMirror(new Etcd(readPlace(etcd.url, {})), "/files/", scratch.join(name), (message) => {
      throw new Error(message);
    });
  const tableOf = (name: string): FileRecords<ReturnType<typeof Type.Number>> =>
    new FileRecords(join(scratch.join(name), TABLE), Type.Number());
  const set = (name: string, records: Record<string, number | undefined>): Promise<void> =>
    tableOf(name).change(new Map(Object.entries(records)));
  const held = (name: string): Record<string, number> => Object.fromEntries(tableOf(name).all());
  const syncBoth = async (one: FileMirror, other: FileMirror): Promise<void> => {
    for (const mirror of [one, other, one]) await mirror.sync();
  };

  beforeEach(async () => {
    scratch = new Scratch();
    for (const name of ["a", "b"]) mkdirSync(scratch.join(name));
    etcd = await RunningEtcd.start(scratch.join("etcd"));
  });
  afterEach(async () => {
    await etcd[Symbol.asyncDispose]();
    scratch[Symbol.dispose]();
  });

  test("a manager that comes back brings nothing back that was changed or removed meanwhile", async () => {
    await set("a", { ada: 64, bob: 8, eve: 1 });
    const b = started("b");
    await syncBoth(started("a"), b);
    expect(held("b")).toEqual({ ada: 64, bob: 8, eve: 1 });
    await set("b", { ada: 4, bob: undefined });
    await b.sync();
    await syncBoth(started("a"), b);
    for (const name of ["a", "b"]) expect(held(name)).toEqual({ ada: 4, eve: 1 });
  });

  test("what a command has changed beside a manager that is away is kept, and so is what others have", async () => {
    await set("a", { ada: 64, bob: 8 });
    const b = started("b");
    await syncBoth(started("a"), b);
    await set("a", { ada: undefined, carl: 2 });
    await set("b", { bob: 9, dora: 3 });
    await b.sync();
    await syncBoth(started("a"), b);
    for (const name of ["a", "b"]) expect(held(name)).toEqual({ bob: 9, carl: 2, dora: 3 });
  });

  test.each(["former", "theirs"] as const)(
    "a manager that was killed while it took what others have changed, with the %s in its table, changes none of it",
    async (which) => {
      const a = scratch.join("a");
      await set("a", { ada: 64 });
      const b = started("b");
      await syncBoth(started("a"), b);
      const former = readShared(a, TABLE);
      await set("b", { ada: 4 });
      const theirs = readShared(scratch.join("b"), TABLE);
      new CommonTexts(a).keep(TABLE, [former, theirs]);
      writeShared(a, TABLE, { former, theirs }[which]);
      await set("b", { ada: 2 });
      await b.sync();
      await syncBoth(started("a"), b);
      for (const name of ["a", "b"]) expect(held(name)).toEqual({ ada: 2 });
    },
  );

  test("a directory that comes with tables of its own adds to what is shared, and changes none of it", async () => {
    await set("a", { ada: 64 });
    await set("b", { ada: 4, bob: 8 });
    await syncBoth(started("a"), started("b"));
    for (const name of ["a", "b"]) expect(held(name)).toEqual({ ada: 64, bob: 8 });
  });

  test("changes by two processes at once are both kept, while a third one brings others", async () => {
    const [a, b] = [started("a"), started("b")];
    await set("a", { first: 0 });
    await syncBoth(a, b);
    const expected: Record<string, number> = { first: 0 };
    for (let i = 0; i < 20; i++) {
      const [here, there] = [`a${i}`, `b${i}`];
      await Promise.all([a.sync(), set("a", { [here]: i }), b.sync(), set("b", { [there]: i })]);
      Object.assign(expected, { [here]: i, [there]: i });
    }
    await syncBoth(a, b);
    await b.sync();
    for (const name of ["a", "b"]) expect(held(name)).toEqual(expected);
  });
});
