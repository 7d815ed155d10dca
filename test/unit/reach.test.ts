/** A node that is looked for at an address: over real sockets, what is told of what answers there; and which looks a manager takes. */
import { afterAll, describe, expect, test } from "bun:test";
import { type AddressInfo, type Server, createServer } from "node:net";
import { parseAddress } from "../../src/control/address.ts";
import {
  type Found,
  OwnAddress,
  QUESTION,
  type Reaching,
  leadsToItself,
  reach,
} from "../../src/control/reach/reach.ts";
import { AddressCheck, problemOf } from "../../src/executor/accounts/address-check.ts";
import { sortArrival } from "../../src/executor/admission/greetings.ts";
import { listen } from "../../src/executor/admission/listen.ts";
import { AddressChecks, LOOK_LIMIT_MS } from "../../src/manager/peers/address-checks.ts";
import { TestClock } from "../support/clock.ts";

const LOCAL: Reaching = { local: true, limitMs: 10_000 };
const servers: Server[] = [];
afterAll(() => servers.forEach((server) => server.close()));

async function served(serve: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(serve);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("a node that is looked for", () => {
  test("is found at its port by the answer to the question that it has given out last", async () => {
    const own = new OwnAddress();
    const taken: unknown[] = [];
    const refuse = (): never => {
      throw new Error("no control connection comes here");
    };
    const listener = await listen(
      parseAddress("127.0.0.1:0"),
      () => ({ opened() {}, abandon() {}, close() {}, drained() {}, received: refuse }) as never,
      (...data) => (taken.push(data), false),
      { insecure: false },
      (question) => own.answerTo(question),
    );
    const at = parseAddress(listener.address);
    const proof = own.newProof();
    const found: Found = { reached: "yes", tried: ["127.0.0.1"] };
    expect(await reach(at, proof, LOCAL)).toEqual(found);
    expect(await reach(at, proof, LOCAL)).toEqual(found);
    // The same node, asked for words that it has not given out, or no longer.
    const foreign = new OwnAddress().newProof();
    expect((await reach(at, foreign, LOCAL)).reached).toBe("another");
    own.newProof();
    expect((await reach(at, proof, LOCAL)).reached).toBe("another");
    listener.stop();
    expect((await reach(at, own.newProof(), LOCAL)).reached).toBe("refused");
    expect(taken).toEqual([]);
  });

  test("is not what echoes, closes, is silent or says something else", async () => {
    const proof = new OwnAddress().newProof();
    const looked = async (serve: Parameters<typeof createServer>[1], limitMs = 10_000) =>
      (await reach(parseAddress(await served(serve)), proof, { ...LOCAL, limitMs })).reached;
    expect(await looked((socket) => socket.pipe(socket))).toBe("another");
    expect(await looked((socket) => socket.end())).toBe("another");
    expect(await looked((socket) => socket.resetAndDestroy())).toBe("another");
    expect(await looked((socket) => void socket.write("220 mail.example ESMTP ready\r\n"))).toBe(
      "another",
    );
    expect(await looked(() => {}, 50)).toBe("another");
  });

  test("is not looked for on the asker's own machine, by whatever name, unless it is there", async () => {
    const proof = new OwnAddress().newProof();
    let came = 0;
    const at = await served(() => came++);
    const { port } = parseAddress(at) as { port: number };
    const far = { local: false, limitMs: 10_000 };
    for (const host of ["127.0.0.1", "127.8.9.1", "localhost", "0.0.0.0", "[::1]", "[::]"])
      expect(await reach(parseAddress(`${host}:${port}`), proof, far)).toEqual({
        reached: "loopback",
        tried: [],
      });
    expect(came).toBe(0);
    const path = parseAddress("/run/rfaas/node.sock");
    expect((await reach(path, proof, far)).reached).toBe("socket");
    expect((await reach(path, proof, LOCAL)).reached).toBe("yes");
  });

  test("has a name that is resolved, or an address", async () => {
    const proof = new OwnAddress().newProof();
    const nowhere = parseAddress("nowhere.invalid:7700");
    expect(await reach(nowhere, proof, LOCAL)).toEqual({ reached: "unknown-name", tried: [] });
  });

  test("is told from data and control by its first bytes, however they arrive", () => {
    const question = new Uint8Array(16).fill(7);
    const whole = Buffer.concat([QUESTION.begins, question]);
    for (let bytes = 0; bytes < whole.length; bytes++)
      expect(sortArrival(whole.subarray(0, bytes), [])).toEqual({ kind: "unknown" });
    expect(sortArrival(whole, [])).toEqual({ kind: "look", question: Buffer.from(question) });
    expect(sortArrival(Buffer.concat([whole, whole]), [])).toEqual({ kind: "wrong" });
    expect(sortArrival(Buffer.from("RFcx"), [])).toEqual({ kind: "control" });
  });

  test("an address leads each machine to itself where it is one of loopback or stands for all", () => {
    for (const own of ["127.0.0.1", "127.255.0.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"])
      expect([own, leadsToItself(own)]).toEqual([own, true]);
    for (const other of ["10.0.0.1", "128.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "a-name"])
      expect([other, leadsToItself(other)]).toEqual([other, false]);
  });
});

/** A manager's looks, at a network and in a time that the test plays. */
function looks(found: (host: string) => Found) {
  const clock = new TestClock();
  const going: { host: string; how: Reaching; end(): void }[] = [];
  const checks = new AddressChecks((address, _, how) => {
    const { host } = address as { host: string };
    return new Promise((resolve) => going.push({ host, how, end: () => resolve(found(host)) }));
  }, clock);
  const proof = new OwnAddress().newProof();
  const look = (announced: string, comesFrom: string, known = false) => {
    const seen: { reached?: string } = {};
    void checks.look(announced, proof, { comesFrom, known }).then((reached) => {
      seen.reached = reached;
    });
    clock.pass(0);
    return seen;
  };
  const endAll = (): void => {
    for (const one of going.splice(0)) one.end();
    clock.pass(0);
  };
  return { clock, going, look, endAll };
}

const at = (reached: Found["reached"]) => (host: string) => ({ reached, tried: [host] });

describe("a manager that looks at addresses", () => {
  test("says to a node with a token what it has found", () => {
    for (const reached of ["yes", "refused", "timeout", "another", "unreachable"] as const) {
      const { look, endAll, going } = looks(at(reached));
      const seen = look("10.0.0.9:7700", "10.0.0.2", true);
      expect(going[0]).toMatchObject({ host: "10.0.0.9", how: { local: false } });
      endAll();
      expect(seen.reached).toBe(reached);
    }
  });

  test("says to a stranger only of its own address what is there, and of others as late as can be that the node is not", () => {
    const { clock, look, endAll } = looks(at("refused"));
    const own = look("10.0.0.2:7700", "::ffff:10.0.0.2");
    const other = look("10.0.0.9:7700", "10.0.0.2");
    clock.pass(5);
    endAll();
    expect([own.reached, other.reached]).toEqual(["refused", undefined]);
    clock.pass(LOOK_LIMIT_MS - 6);
    expect(other.reached).toBeUndefined();
    clock.pass(1);
    expect(other.reached).toBe("unproven");
    const there = looks(at("yes"));
    const seen = there.look("10.0.0.9:7700", "10.0.0.2");
    there.endAll();
    expect(seen.reached).toBe("yes");
  });

  test("looks at loopback only for a node of its own machine", () => {
    const { look, going } = looks(at("yes"));
    look("127.0.0.1:7700", "127.0.0.1");
    look("127.0.0.1:7700", "10.0.0.2");
    expect(going.map(({ how }) => how.local)).toEqual([true, false]);
  });

  test("paces those of one machine, and no other for them", () => {
    const { clock, look, going, endAll } = looks(at("yes"));
    for (let i = 0; i < 30; i++) {
      look(`10.0.0.2:${i + 1}`, "10.0.0.2", true);
      endAll();
    }
    expect(going).toHaveLength(0);
    clock.pass(0);
    look("10.0.0.3:1", "10.0.0.3", true);
    expect(going.map(({ host }) => host)).toEqual(["10.0.0.3"]);
    endAll();
    clock.pass(1000);
    // Four in a second.
    expect(going).toHaveLength(4);
  });

  test("has few looks at once, and the next as one ends", () => {
    const { look, going, endAll } = looks(at("yes"));
    const seen = Array.from({ length: 40 }, (_, i) => look("10.0.0.9:1", `10.1.0.${i}`, true));
    expect(going).toHaveLength(32);
    endAll();
    expect(going).toHaveLength(8);
    endAll();
    expect(seen.every(({ reached }) => reached === "yes")).toBe(true);
  });

  test("looks nowhere for what is no address", () => {
    const { look, going } = looks(at("yes"));
    const seen = look("nonsense", "10.0.0.2", true);
    expect([seen.reached, going.length]).toEqual(["unknown-name", 0]);
  });
});

describe("a node that asks its manager", () => {
  function asking(answers: (string | Error)[]) {
    const clock = new TestClock();
    const lines: string[] = [];
    const asked: Uint8Array[] = [];
    const own = new OwnAddress();
    const check = new AddressCheck({
      ...{ own, clock, address: "n1:7700", manager: "m:7800" },
      log: (level, message) => lines.push(`${level}: ${message}`),
      async ask({ question }) {
        asked.push(question);
        const answer = answers.shift() ?? "yes";
        if (answer instanceof Error) throw answer;
        return answer;
      },
    });
    return { clock, lines, asked, check };
  }

  test("says once what stands against it and when that is over, and asks again each minute until then", () => {
    const { clock, lines, asked, check } = asking(["refused", "refused", "timeout", "yes"]);
    check.joined(true);
    clock.pass(0);
    expect(lines).toEqual([`warn: ${problemOf("refused", "n1:7700", "m:7800")}`]);
    clock.pass(60_000);
    expect([lines.length, asked.length]).toEqual([1, 2]);
    clock.pass(60_000);
    expect(lines[1]).toContain("a firewall drops");
    clock.pass(60_000);
    expect(lines[2]).toBe("info: the manager at m:7800 reaches this node at n1:7700");
    clock.pass(600_000);
    expect(asked).toHaveLength(4);
    // A question serves once.
    expect(new Set(asked.map(String)).size).toBe(4);
  });

  test("says nothing of an address that is right, nor where the manager does not look", () => {
    const right = asking(["yes"]);
    right.check.joined(true);
    right.clock.pass(600_000);
    expect([right.lines, right.asked.length]).toEqual([[], 1]);
    const older = asking([]);
    older.check.joined(false);
    older.clock.pass(600_000);
    expect(older.asked).toEqual([]);
  });

  test("asks again when the manager had no time for it, and not once it leaves", () => {
    const { clock, lines, asked, check } = asking([new Error("busy"), "another"]);
    check.joined(true);
    clock.pass(60_000);
    expect(asked).toHaveLength(2);
    expect(lines).toHaveLength(1);
    check.close();
    clock.pass(600_000);
    expect([asked.length, clock.waiting]).toEqual([2, 0]);
  });

  test("is told of each failure the cause and what to do, also of one that it does not know", () => {
    const words = ["unknown-name", "refused", "timeout", "unreachable", "another", "loopback"];
    const told = [...words, "socket", "unproven", "of a later version"].map((found) =>
      problemOf(found, "n1:7700", "m:7800")!,
    );
    for (const line of told)
      expect(line).toMatch(/^clients may not find this node at n1:7700: .*m:7800.*; .*--\w+ /);
    expect(new Set(told.slice(0, -1)).size).toBe(told.length - 1);
    expect(problemOf("yes", "n1:7700", "m:7800")).toBeUndefined();
  });
});
