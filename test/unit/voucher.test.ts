/** What a manager says of its nodes: whom a client trusts at their addresses, and to whom it shows its token. */
import { describe, expect, test } from "bun:test";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import { vouchedFor, whyUnvouched } from "../../src/client/cluster/voucher.ts";
import { NodeConnection } from "../../src/client/node/connection.ts";
import { Connection } from "../../src/control/connection.ts";
import { formatAddress, parseAddress } from "../../src/control/address.ts";
import type { Acquaintance } from "../../src/control/dial-socket.ts";
import type { Dial } from "../../src/control/link.ts";
import type { ManagerToClient } from "../../src/protocol/manager-messages.ts";
import {
  type ClientMessage,
  type NodeMessage,
  clientVocabulary,
} from "../../src/protocol/messages.ts";
import { Scratch } from "../support/scratch.ts";

const CA = `sha256:${"c".repeat(64)}` as const;
const KEY = `sha256:${"e".repeat(64)}` as const;

/** A subscription to a manager that is known so, and says that its nodes have certificates of `ca`. */
async function subscribed(peer: Acquaintance, ca?: string): Promise<ManagerSubscription> {
  const dial: Dial = (_, __, { opened, message }) => {
    const say = (said: ManagerToClient): void => message(said as never);
    queueMicrotask(() => {
      opened(peer);
      say({ t: "manager-key", publicKey: null, ...(ca === undefined ? {} : { ca }) });
      say({ t: "nodes", nodes: [], last: true });
    });
    return { send() {}, close() {}, ref() {}, unref() {} };
  };
  return await ManagerSubscription.connect("10.0.0.1:7800", "token", undefined, { dial });
}

describe("a client's token", () => {
  const strangers: Acquaintance[] = [{ by: "memory", key: KEY }, { by: "nothing" }];
  for (const peer of strangers)
    for (const ca of [CA, undefined])
      test(`is for no node of a manager that is known by ${peer.by} and has ${ca ? "an" : "no"} authority`, async () => {
        using manager = await subscribed(peer, ca);
        const { withheld, ...voucher } = manager.vouchFor("node");
        expect(voucher).toEqual({ name: "node", ca });
        expect(withheld).toStartWith("no token was sent, as the ");
      });

  test("is for the nodes of a manager that is pinned", async () => {
    using manager = await subscribed({ by: "pin", key: KEY }, CA);
    expect(manager.vouchFor("node")).toEqual({ name: "node", ca: CA });
  });
});

test("a client that shows a node no token is told why, where the node wants one", async () => {
  using scratch = new Scratch();
  let token: unknown = "none came";
  const node: Connection<ClientMessage, NodeMessage> = new Connection(clientVocabulary, {
    message(hello) {
      token = (hello as { token?: unknown }).token;
      node.send({ t: "refused", code: "RFAAS_FORBIDDEN", message: "this node wants a token" });
      node.close();
    },
    closed() {},
  });
  const path = scratch.join("node.sock");
  using _ = Bun.listen({ unix: path, socket: node.handler() });
  const withheld = "no token was sent, as the manager is a stranger";
  const connecting = NodeConnection.connect(parseAddress(path), [], "token", undefined, {
    withhold: () => withheld,
  });
  await expect(connecting).rejects.toThrow(`refused this client: ${withheld}`);
  expect(token).toBeNull();
});

describe("a node that a manager names", () => {
  const trusted = (address: string, ca?: typeof CA) =>
    formatAddress(vouchedFor(parseAddress(address), { name: "node", ca }));

  test("is known by a certificate of the cluster's authority, whatever key it has announced", () => {
    const vouched = `rfaas://10.0.0.5:7700?ca=${CA}`;
    expect(trusted("10.0.0.5:7700", CA)).toBe(vouched);
    expect(trusted(`rfaas://10.0.0.5:7700?key=${KEY}`, CA)).toBe(vouched);
    expect(trusted(`rfaas://10.0.0.5:7700?ca=${KEY}`, CA)).toBe(vouched);
  });

  test("is known as it has announced where the cluster has no authority", () => {
    const announced = `rfaas://10.0.0.5:7700?key=${KEY}`;
    expect(trusted(announced)).toBe(announced);
    expect(trusted("10.0.0.5:7700")).toBe("10.0.0.5:7700");
  });

  test("is spoken to in clear on this machine", () => {
    expect(trusted("127.0.0.1:7700", CA)).toBe("127.0.0.1:7700");
    expect(trusted("/run/node.sock", CA)).toBe("/run/node.sock");
  });
});

describe("a bearer token", () => {
  const whyNot = (address: string, by: Acquaintance, more: { ca?: typeof CA; withheld?: string }) =>
    whyUnvouched(parseAddress(address), { name: "node", ...more }, by);
  const pinned: Acquaintance = { by: "pin", key: KEY };

  test("is for no node that a manager has merely named, wherever that is", () => {
    for (const [address, known] of [
      ["127.0.0.1:7700", { by: "local" }],
      ["/run/node.sock", { by: "local" }],
      ["rfaas://127.0.0.1:7700", { by: "local", key: KEY }],
      // Its own word.
      [`rfaas://10.0.0.5:7700?key=${KEY}`, pinned],
      ["10.0.0.5:7700", { by: "memory", key: KEY }],
      ["10.0.0.5:7700", { by: "nothing" }],
    ] as const)
      expect(whyNot(address, known, {})).toContain("only the manager has named");
    expect(whyNot("127.0.0.1:7700", { by: "local" }, { ca: CA })).toContain("only the manager");
  });

  test("is for one whose certificate is of the manager's authority, or of the user's", () => {
    expect(whyNot("10.0.0.5:7700", pinned, { ca: CA })).toBeUndefined();
    expect(whyNot(`rfaas://10.0.0.5:7700?key=${KEY}`, pinned, { ca: CA })).toBeUndefined();
    expect(whyNot("10.0.0.5:7700", pinned, {})).toBeUndefined();
    const withheld = "no token was sent, as the manager is a stranger";
    expect(whyNot("10.0.0.5:7700", pinned, { ca: CA, withheld })).toBe(withheld);
  });

  test("is for a node that the user has named", () => {
    const local: Acquaintance = { by: "local" };
    expect(whyUnvouched(parseAddress("127.0.0.1:7700"), undefined, local)).toBeUndefined();
  });
});
