/** Which manager leads, by what etcd answers and when. */
import { beforeEach, describe, expect, test } from "bun:test";
import { Leadership } from "../../src/manager/cluster-state/etcd/leadership.ts";
import { readPlace } from "../../src/manager/cluster-state/etcd/place.ts";
import { whyUnfit } from "../../src/manager/cluster-state/etcd/records.ts";
import { isShared, merged } from "../../src/manager/cluster-state/shared-files.ts";
import { parseManagers } from "../../src/control/managers.ts";
import { Scratch } from "../support/scratch.ts";

const TTL_MS = 4_000;

let leadership: Leadership;
beforeEach(() => (leadership = new Leadership()));

describe("a manager", () => {
  test("leads once it has won and has what the one before it kept, and not before", () => {
    expect(leadership.leadsAt(0)).toBe(false);
    leadership.granted("l1", TTL_MS, 0);
    expect([leadership.leaseAt(1), leadership.termAt(1)]).toEqual(["l1", undefined]);
    leadership.caughtUp();
    expect(leadership.leadsAt(1)).toBe(false);
    leadership.won(7);
    expect([leadership.termAt(1), leadership.leadsAt(1)]).toEqual([7, false]);
    leadership.caughtUp();
    expect(leadership.leadsAt(1)).toBe(true);
  });

  test("has stopped before its lease is over in etcd, whatever comes late", () => {
    leadership.granted("l1", TTL_MS, 0);
    leadership.won(7);
    leadership.caughtUp();
    // Asked at 1000, and answered long after: it counts from when it was asked.
    leadership.renewed("l1", TTL_MS, 1000);
    expect([leadership.leadsAt(4599), leadership.leadsAt(4600)]).toEqual([true, false]);
    expect(leadership.termAt(4600)).toBeUndefined();
    leadership.tick(4600);
    leadership.renewed("l1", TTL_MS, 4500);
    expect(leadership.leadsAt(4600)).toBe(false);
  });

  test("does not go back in time with an answer that has overtaken another", () => {
    leadership.granted("l1", TTL_MS, 0);
    leadership.won(7);
    leadership.caughtUp();
    leadership.renewed("l1", TTL_MS, 2000);
    leadership.renewed("l1", TTL_MS, 1000);
    expect(leadership.leadsAt(5500)).toBe(true);
  });

  test("stops at once when etcd says that its lease is over, and begins anew with another one", () => {
    leadership.granted("l1", TTL_MS, 0);
    leadership.won(7);
    leadership.caughtUp();
    leadership.renewed("l1", 0, 10);
    expect(leadership.leadsAt(11)).toBe(false);
    leadership.granted("l2", TTL_MS, 20);
    // Of the lease before.
    leadership.renewed("l1", TTL_MS, 21);
    leadership.won(9);
    leadership.caughtUp();
    expect([leadership.termAt(22), leadership.leadsAt(3620)]).toEqual([9, false]);
  });
});

describe("the state of another cluster", () => {
  const own = { cluster: "c", ca: "sha256:1", tokenKey: "k" };
  test("is not led, and what to copy is said", () => {
    expect(whyUnfit(own, own, "/s", "/k")).toBeUndefined();
    expect(whyUnfit(own, { ...own, ca: null, tokenKey: null }, "/s", "/k")).toBeUndefined();
    expect(whyUnfit({ ...own, ca: null }, own, "/s", "/k")).toContain("Copy ca-key.pem from");
    expect(whyUnfit({ ...own, tokenKey: null }, own, "/s", "/k")).toContain("token-key.pem");
  });
});

describe("shared files", () => {
  test.each(["nodes.json", "join-tokens/ab12.made", "members/node-a%3Ab"])("are %s", (name) =>
    expect(isShared(name)).toBe(true),
  );
  test.each([
    ...["token-key.pem", "../nodes.json", "members/../x", "members/..", "a/b.json"],
    ...["members/a/b", ".x.json", "ledger.sqlite", "", "members/"],
  ])("are not %j", (name) => expect(isShared(name)).toBe(false));

  const table = (records: object): string => JSON.stringify({ version: 1, records });
  const recordsOf = (text: string): unknown => (JSON.parse(text) as { records: unknown }).records;

  test.each<[string, object | undefined, object, object, object]>([
    ["added by both", { a: 1 }, { a: 1, b: 2 }, { a: 1, c: 3 }, { a: 1, b: 2, c: 3 }],
    ["removed here", { a: 1, b: 2 }, { a: 1 }, { a: 1, b: 2, c: 3 }, { a: 1, c: 3 }],
    ["removed there", { a: 1, b: 2 }, { a: 1, b: 2, c: 3 }, { a: 1 }, { a: 1, c: 3 }],
    [
      "changed there",
      { a: { n: 1 } },
      { a: { n: 1 }, b: 2 },
      { a: { n: 5 } },
      { a: { n: 5 }, b: 2 },
    ],
    ["changed by both", { a: 1 }, { a: 2 }, { a: 3 }, { a: 2 }],
    ["of which nothing is known", undefined, { a: 1, b: 2 }, { b: 3, c: 4 }, { a: 1, b: 3, c: 4 }],
  ])("are merged record by record: %s", (_, before, own, others, expected) => {
    const former = before && table(before);
    expect(recordsOf(merged(former, table(own), table(others)))).toEqual(expected);
  });

  test("are taken whole where they are no tables: what has changed counts, and of two changes the others'", () => {
    for (const other of ["no JSON", '{"records":[]}', "{}"]) {
      expect(merged(table({}), table({ a: 1 }), other)).toBe(other);
      expect(merged(other, "new", other)).toBe("new");
      expect(merged(other, other, "new")).toBe("new");
      expect(merged(table({}), other, other)).toBe(other);
    }
  });
});

describe("the place of an etcd", () => {
  test("is one or several members, a prefix, and a user", () => {
    using scratch = new Scratch();
    const ca = scratch.file("ca.pem", "a CA");
    expect(readPlace("etcd://10.0.0.1:2379,[::1]:2379/a/b/", {})).toEqual({
      endpoints: ["http://10.0.0.1:2379", "http://[::1]:2379"],
      ...{ prefix: "/a/b", user: undefined, tls: undefined },
    });
    expect(readPlace("etcd://ada:p%40ss@h:1", { registryCa: ca })).toEqual({
      ...{ endpoints: ["https://h:1"], prefix: "/rfaas", tls: { ca: "a CA" } },
      user: { name: "ada", password: "p@ss" },
    });
  });

  test.each<[string, object, string]>([
    ["etcd://", {}, "must be etcd://"],
    ["etcd:///x", {}, "must be etcd://"],
    ["etcd://h", {}, "no address"],
    ["etcd:///run/a.sock", {}, "must be etcd://"],
    ["etcd://ada@127.0.0.1:1", {}, "RFAAS_REGISTRY_PASSWORD"],
    ["etcd://ada:x@10.0.0.1:1", {}, "in clear"],
    ["etcd://h:1", { registryCert: "/c" }, "belong together"],
    ["etcd://h:1", { registryCa: "/none" }, "/none cannot be read"],
  ])("is refused as %s %j", (url, options, why) => {
    expect(() => readPlace(url, options)).toThrow(why);
  });
});

test("managers are named with commas between, each once", () => {
  const places = parseManagers("10.0.0.1:7800,rfaas://h:1,10.0.0.1:7800");
  expect(places).toMatchObject([{ host: "10.0.0.1" }, { host: "h", secure: {} }]);
  expect(() => parseManagers("10.0.0.1:7800,")).toThrow("it is empty");
});
