/**
 * What the version before this one says, byte by byte: this version understands all of it, in both directions of every connection, and
 * what it says to such a peer itself is checked with the real one in `versions.test.ts`.
 */
import { describe, expect, test } from "bun:test";
import { FrameReader, PROTOCOL_VERSION, encodeFrame } from "../../src/protocol/frame.ts";
import {
  MANAGER_PROTOCOL_VERSION,
  managerToClientVocabulary,
  managerToNodeVocabulary,
  toManagerVocabulary,
} from "../../src/protocol/manager-messages.ts";
import { clientVocabulary, nodeVocabulary } from "../../src/protocol/messages.ts";
import { PREVIOUS } from "../support/previous.ts";
import recorded from "./frames.json";
import type { Speaker } from "./record.ts";

const VOCABULARIES: Readonly<Record<Speaker, { parse(message: unknown): { t: string } }>> = {
  "client to node": clientVocabulary,
  "node to client": nodeVocabulary,
  "to manager": toManagerVocabulary,
  "manager to node": managerToNodeVocabulary,
  "manager to client": managerToClientVocabulary,
};
const speakers = Object.keys(VOCABULARIES) as Speaker[];

const framesOf = (speaker: Speaker): Uint8Array[] =>
  recorded.frames[speaker].map((frame) => new Uint8Array(Buffer.from(frame, "base64")));

test("frames are those of the version that upgrades are from", () => {
  expect(recorded.version).toBe(PREVIOUS);
});

describe.each(speakers)("what the previous version's %s says", (speaker) => {
  test("is understood, and is written as it was", () => {
    const kinds = framesOf(speaker).map((frame) => {
      const [message, ...more] = new FrameReader().push(frame);
      expect(more).toEqual([]);
      const { t } = VOCABULARIES[speaker].parse(message);
      expect(encodeFrame(message)).toEqual(frame);
      return t;
    });
    expect(kinds).toContain(GREETINGS[speaker]);
  });
});

/** Each connection was recorded from its first message on. */
const GREETINGS: Readonly<Record<Speaker, string>> = {
  "client to node": "hello",
  "node to client": "welcome",
  "to manager": "announce",
  "manager to node": "accepted",
  "manager to client": "manager-key",
};

test("greetings name protocols that this version speaks", () => {
  const protocols = (speaker: Speaker): unknown[] =>
    framesOf(speaker)
      .map((frame) => new FrameReader().push(frame)[0] as { t: string; protocol?: number })
      .filter(({ protocol }) => protocol !== undefined)
      .map(({ protocol }) => protocol);
  expect(new Set([...protocols("client to node"), ...protocols("node to client")])).toEqual(
    new Set([PROTOCOL_VERSION]),
  );
  expect(new Set(protocols("to manager"))).toEqual(new Set([MANAGER_PROTOCOL_VERSION]));
});
