/** Which user of the machine the hosts of each user are, where a node gives them some. */
import { describe, expect, test } from "bun:test";
import { HostUsers, type HostUsersOptions } from "../../src/executor/admission/host-users.ts";
import { OWNER } from "../../src/executor/admission/identity.ts";
import { clashesOf } from "../../src/executor/sandbox/users/accounts.ts";
import { Users } from "../../src/executor/sandbox/users/range.ts";

describe("a range of uids", () => {
  test("gives each user one, the same as long as a hold of theirs lasts", () => {
    const users = new Users({ from: 7000, to: 7002 });
    const [first, second] = [users.hold("ada")!, users.hold("ada")!];
    const other = users.hold("bob")!;
    expect([first.uid, second.uid, other.uid]).toEqual([7000, 7000, 7001]);
    first.release();
    first.release();
    expect(users.hold("ada")!.uid).toBe(7000);
  });

  test("gives back what no hold is left of, and then the others first", () => {
    const users = new Users({ from: 7000, to: 7002 });
    users.hold("ada")!.release();
    expect(users.hold("bob")!.uid).toBe(7001);
    expect(users.hold("eve")!.uid).toBe(7002);
    expect(users.hold("ada")!.uid).toBe(7000);
  });

  test("has none for another user while all are given, and never one for two", () => {
    const users = new Users({ from: 7000, to: 7001 });
    const ada = users.hold("ada")!;
    users.hold("bob");
    expect([users.has("ada"), users.has("eve")]).toEqual([true, false]);
    expect(users.hold("eve")).toBeUndefined();
    expect(users.spent()).toContain("2 uids");
    ada.release();
    expect(users.hold("eve")!.uid).toBe(7000);
    expect(users.hold("ada")).toBeUndefined();
  });
});

describe("users of a node", () => {
  const named = (user: string) => ({ user, maxCores: null, untilMs: null });
  const node = (
    range: { from: number; to: number } | undefined,
    evict: HostUsersOptions["evict"],
  ) => {
    let freed = 0;
    const users = new HostUsers({
      ...{ users: range && new Users(range), mostHosts: 4, evict },
      freed: () => void freed++,
    });
    return { users, freed: () => freed };
  };
  const nothingKept = () => undefined;

  test("are told apart by their names, and the node's own user is none of those", () => {
    const { users } = node({ from: 1, to: 9 }, nothingKept);
    const uids = [OWNER, named(OWNER.user), named("ada"), named("ada")].map(
      (identity) => users.holdFor(identity)!.becomes.uid,
    );
    expect(uids).toEqual([1, 2, 3, 3]);
  });

  test("without a name are another one with each lease", () => {
    const { users } = node({ from: 1, to: 2 }, nothingKept);
    const unnamed = { ...named("anonymous"), shared: true } as const;
    const uids = [users.holdFor(unnamed), users.holdFor(unnamed)].map((user) => user!.becomes.uid);
    expect(uids).toEqual([1, 2]);
    expect(() => users.holdFor(unnamed)).toThrow("--uid-range");
  });

  test("stay the node's user where it has no range", async () => {
    const { users } = node(undefined, () => {
      throw new Error("nothing is to be evicted");
    });
    await users.makeWayFor(OWNER);
    expect(users.holdFor(OWNER)).toBeUndefined();
  });

  test("have their uid until their host is gone, and those that wait hear of it then", async () => {
    const { users, freed } = node({ from: 1, to: 1 }, nothingKept);
    const exited = Promise.withResolvers<void>();
    const ada = users.holdFor(named("ada"))!;
    ada.isOf({ exited: exited.promise }, false);
    ada.release();
    expect(() => users.holdFor(named("bob"))).toThrow("1 uid");
    exited.resolve();
    await exited.promise;
    await Promise.resolve();
    expect(freed()).toBe(1);
    expect(users.holdFor(named("bob"))!.becomes.uid).toBe(1);
  });

  test("get the uids of hosts that are only kept, as long as there are such", async () => {
    const kept: (() => Promise<void>)[] = [];
    const { users } = node({ from: 1, to: 1 }, () => kept.shift()?.());
    const ada = users.holdFor(named("ada"))!;
    await users.makeWayFor(named("bob"));
    expect(() => users.holdFor(named("bob"))).toThrow("1 uid");
    kept.push(
      async () => {},
      async () => ada.release(),
      async () => {},
    );
    await users.makeWayFor(named("bob"));
    expect(kept).toHaveLength(1);
    expect(users.holdFor(named("bob"))!.becomes.uid).toBe(1);
  });
});

describe("a range clashes", () => {
  const machine = {
    passwd: "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n",
    group: "users:x:100:\nvideo:x:7001:\n",
    subuid: "# for containers\nada:100000:65536\n",
    subgid: "",
    uidMap: "         0          0 4294967295\n",
    gidMap: "         0          0 4294967295\n",
  };

  test.each([
    ["a user of the machine's", { from: 900, to: 1000 }, ["1000 is the user ada of /etc/passwd"]],
    ["a group", { from: 7000, to: 7001 }, ["7001 is the group video of /etc/group"]],
    [
      "what a user may have for containers",
      { from: 165_535, to: 170_000 },
      ["100000 to 165535 are for containers of ada, by /etc/subuid"],
    ],
  ])("with %s", (_, range, reasons) => {
    expect(clashesOf(range, machine)).toEqual(reasons);
  });

  test("with nothing beside these", () => {
    for (const range of [
      { from: 1, to: 99 },
      { from: 1001, to: 7000 },
      { from: 165_536, to: 4_294_967_294 },
    ])
      expect(clashesOf(range, machine)).toEqual([]);
  });

  test("with a user namespace that has not all of it", () => {
    const within = { ...machine, uidMap: "0 100000 65536\n" };
    const lacks = ["this user namespace has not all of these uids"];
    expect(clashesOf({ from: 65_000, to: 65_536 }, within)).toEqual(lacks);
    expect(clashesOf({ from: 65_000, to: 65_535 }, within)).toEqual([]);
  });
});
