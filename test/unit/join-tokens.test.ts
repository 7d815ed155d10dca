/** Join tokens: each lets in one node, once, also when several ask at once and when the manager is started anew. */
import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError, TokenRefused } from "../../src/base/errors.ts";
import { JoinTokens } from "../../src/manager/enrolment/join-tokens.ts";
import { Scratch } from "../support/scratch.ts";

const NOW = Date.UTC(2026, 10, 28, 12);
const HOUR = 3_600_000;
const N1 = { name: "n1", key: "key of n1" };
const N2 = { name: "n2", key: "key of n2" };

function refusal(attempt: () => unknown): TokenRefused {
  try {
    attempt();
  } catch (error) {
    if (error instanceof TokenRefused) return error;
    throw error;
  }
  throw new Error("was not refused");
}

describe("a join token", () => {
  test("lets one node in, and says afterwards which and when", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    tokens.redeem(token, N1, NOW + 1000);
    const { reason, message } = refusal(() => tokens.redeem(token, N2, NOW + 2000));
    expect(reason).toBe("used");
    expect(message).toBe(
      "the join token was used by the node n1 at 2026-11-28T12:00:01.000Z, and lets in one node only; make a new one on the manager's machine: rfaas node join-token",
    );
  });

  test("is used also for a manager that is started anew, and one that was made before is good", () => {
    using scratch = new Scratch();
    const [used, fresh] = [0, 0].map(() => new JoinTokens(scratch.path).create(HOUR, NOW));
    new JoinTokens(scratch.path).redeem(used!, N1, NOW);
    expect(refusal(() => new JoinTokens(scratch.path).redeem(used!, N2, NOW)).reason).toBe("used");
    new JoinTokens(scratch.path).redeem(fresh!, N2, NOW);
  });

  test("may be shown again by the node that has not heard the answer, and by no other key of its name", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    tokens.redeem(token, N1, NOW);
    tokens.redeem(token, N1, NOW + HOUR + 1);
    expect(refusal(() => tokens.redeem(token, { ...N1, key: "other" }, NOW)).reason).toBe("used");
    expect(refusal(() => tokens.redeem(token, { ...N1, name: "n3" }, NOW)).reason).toBe("used");
  });

  test("lets in one of several processes that show it at once", async () => {
    using scratch = new Scratch();
    const token = new JoinTokens(scratch.path).create(HOUR, NOW);
    const path = join(import.meta.dir, "../../src/manager/enrolment/join-tokens.ts");
    const code = (n: number) => `const { JoinTokens } = await import(${JSON.stringify(path)});
      const tokens = new JoinTokens(${JSON.stringify(scratch.path)});
      try { tokens.redeem(${JSON.stringify(token)}, { name: "n${n}", key: "${n}" }, ${NOW}); console.log("in"); }
      catch (error) { console.log(error.reason); }`;
    const children = Array.from({ length: 4 }, (_, n) =>
      Bun.spawn([process.argv0, "-e", code(n)], { stdout: "pipe", stderr: "inherit" }),
    );
    const said = await Promise.all(
      children.map(async ({ stdout }) => (await stdout.text()).trim()),
    );
    expect(said.toSorted()).toEqual(["in", "used", "used", "used"]);
  });

  test("is good until it expires", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const [first, second] = [tokens.create(HOUR, NOW), tokens.create(HOUR, NOW)];
    tokens.redeem(first, N1, NOW + HOUR - 1);
    const { reason, message } = refusal(() => tokens.redeem(second, N2, NOW + HOUR));
    expect(reason).toBe("expired");
    expect(message).toBe(
      "the join token expired at 2026-11-28T13:00:00.000Z; make a new one on the manager's machine: rfaas node join-token",
    );
  });

  test("of another cluster is told from one that this cluster has never made", () => {
    using here = new Scratch();
    using there = new Scratch();
    const tokens = new JoinTokens(here.path);
    const foreign = refusal(() =>
      tokens.redeem(new JoinTokens(there.path).create(HOUR, NOW), N1, NOW),
    );
    expect(foreign.message).toStartWith(
      "the join token is for another cluster than this manager's; make a new one",
    );
    const mine = tokens.create(HOUR, NOW);
    rmSync(here.join("join-tokens"), { recursive: true });
    expect(refusal(() => new JoinTokens(here.path).redeem(mine, N1, NOW)).message).toStartWith(
      "the manager has made no such join token; make a new one",
    );
  });

  test("that is damaged is said to be, whatever is wrong with it", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    const flipped = token.at(-12) === "0" ? "1" : "0";
    const damaged = [
      ...["", "x", "join-", token.slice(0, -1), `${token}0`, token.replaceAll("-", "_")],
      ...[token.slice(0, -12) + flipped + token.slice(-11), `${token} ${token}`, "../../ledger"],
    ];
    for (const text of damaged) {
      const { reason, message } = refusal(() => tokens.redeem(text, N1, NOW));
      expect(reason).toBe("malformed");
      expect(message).toBe(
        "the join token is damaged; copy it whole, as rfaas node join-token printed it",
      );
    }
    // What an editor or a terminal makes of it does no harm.
    tokens.redeem(` ${token.toUpperCase()}\n`, N1, NOW);
  });

  test("gives no name that another node has, unless it is for that name", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const thief = { name: "n1", key: "key of a thief" };
    tokens.redeem(tokens.create(HOUR, NOW), N1, NOW);
    const token = tokens.create(HOUR, NOW);
    const { reason, message } = refusal(() => tokens.redeem(token, thief, NOW));
    expect(reason).toBe("refused");
    expect(message).toBe(
      "a node n1 has joined before, with another key; if this is that node, installed anew, make a token for it on the manager's machine: rfaas node join-token n1",
    );
    // It was not used up, and the node itself may join again.
    tokens.redeem(token, N1, NOW);
    const again = new JoinTokens(scratch.path).create(HOUR, NOW, "n1");
    expect(refusal(() => tokens.redeem(again, N2, NOW)).message).toStartWith(
      "the join token is for the node n1, and this one is called n2; start it with --name n1, or",
    );
    const anew = { name: "n1", key: "another key of n1" };
    tokens.redeem(again, anew, NOW);
    expect(refusal(() => tokens.redeem(tokens.create(HOUR, NOW), N1, NOW)).reason).toBe("refused");
    tokens.redeem(tokens.create(HOUR, NOW), anew, NOW);
  });

  test("that was used is of no use to a node whose name another one has since", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    tokens.redeem(token, N1, NOW);
    tokens.redeem(tokens.create(HOUR, NOW, "n1"), { name: "n1", key: "another" }, NOW);
    expect(refusal(() => tokens.redeem(token, N1, NOW)).message).toStartWith(
      "a node n1 has joined before, with another key",
    );
  });

  test("keeps the name for its node also where the manager ended as it was used", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    tokens.redeem(token, N1, NOW);
    rmSync(scratch.join("members/node-n1"));
    tokens.redeem(token, N1, NOW);
    const thief = { name: "n1", key: "key of a thief" };
    expect(refusal(() => tokens.redeem(tokens.create(HOUR, NOW), thief, NOW)).reason).toBe(
      "refused",
    );
  });

  test("is in no file, and its file is its owner's alone", () => {
    using scratch = new Scratch();
    const token = new JoinTokens(scratch.path).create(HOUR, NOW);
    const [, , secret] = token.split("-");
    const files = readdirSync(scratch.path, { recursive: true, withFileTypes: true });
    const read = files
      .filter((file) => file.isFile())
      .map((file) => join(file.parentPath, file.name));
    expect(read.length).toBe(2);
    for (const path of read) {
      expect(path).not.toContain(secret!);
      expect(readFileSync(path, "utf8")).not.toContain(secret!);
    }
    expect(statSync(scratch.join("join-tokens")).mode & 0o777).toBe(0o700);
  });

  test("is forgotten a month after it has expired, and not before", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    tokens.redeem(token, N1, NOW);
    tokens.create(HOUR, NOW + 29 * 24 * HOUR);
    expect(refusal(() => tokens.redeem(token, N2, NOW)).reason).toBe("used");
    tokens.create(HOUR, NOW + 31 * 24 * HOUR);
    expect(refusal(() => tokens.redeem(token, N2, NOW)).message).toContain("no such join token");
    expect(readdirSync(scratch.join("join-tokens")).length).toBe(2);
  });

  test("whose file is damaged lets no node in", () => {
    using scratch = new Scratch();
    const tokens = new JoinTokens(scratch.path);
    const token = tokens.create(HOUR, NOW);
    const [file] = readdirSync(scratch.join("join-tokens"));
    const path = scratch.join(`join-tokens/${file}`);
    for (const text of ["", "{}", '{"expiresAtMs":"never"}', "nonsense"]) {
      writeFileSync(path, text);
      expect(() => tokens.redeem(token, N1, NOW)).toThrow(EnvironmentError);
      expect(() => tokens.redeem(token, N1, NOW)).toThrow(`${path} cannot be used`);
    }
  });
});
