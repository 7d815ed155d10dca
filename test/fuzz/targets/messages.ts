import type { TSchema } from "@sinclair/typebox";
import { ProtocolError } from "../../../src/base/errors.ts";
import { type Declared, isRequest } from "../../../src/protocol/declare.ts";
import {
  agentMessages,
  agentVocabulary,
  hostMessages,
  hostVocabulary,
} from "../../../src/protocol/host-messages.ts";
import {
  clientToManager,
  managerToClient,
  managerToClientVocabulary,
  managerToNewcomer,
  managerToNewcomerVocabulary,
  managerToNode,
  managerToNodeVocabulary,
  nodeToManager,
  toManagerVocabulary,
} from "../../../src/protocol/manager-messages.ts";
import {
  clientMessages,
  clientVocabulary,
  nodeMessages,
  nodeVocabulary,
} from "../../../src/protocol/messages.ts";
import type { Vocabulary } from "../../../src/protocol/vocabulary.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { must, outcome } from "./outcome.ts";
import { sample } from "./sample.ts";

/** Who hears, and what may be said to it. */
const sides: readonly [vocabulary: Vocabulary<{ t: string }>, says: readonly Declared[]][] = [
  [clientVocabulary, clientMessages],
  [nodeVocabulary, [...nodeMessages, ...clientMessages]],
  [agentVocabulary, agentMessages],
  [hostVocabulary, [...hostMessages, ...agentMessages]],
  [toManagerVocabulary, [...nodeToManager, ...clientToManager]],
  [managerToNodeVocabulary, [...managerToNode, ...nodeToManager]],
  [managerToClientVocabulary, [...managerToClient, ...clientToManager]],
  [managerToNewcomerVocabulary, managerToNewcomer],
];

const schemasOf = (message: Declared): TSchema[] =>
  isRequest(message) ? [message.schema, message.reply] : [message.schema];

/** The first byte says which side it comes to. */
export const subject: Subject = {
  seeds: [
    Uint8Array.from([0, 1]),
    Uint8Array.from([0, 0x81, 0xa1, 0x74, 1]),
    Uint8Array.from([0, 0x81, 0xa1, 0x74, 0xa1, 97]),
    ...sides.flatMap(([{ packing }, says], i) =>
      says
        .flatMap(schemasOf)
        .map((schema) => Uint8Array.from([i, ...packing.pack(sample(schema))])),
    ),
  ],
  tokens: sides.flatMap(([, says]) => says.map(({ name }) => name)).concat(["", "id", "failed"]),
  run(input) {
    if (input.length < 2) return;
    const [vocabulary] = sides[input[0]! % sides.length]!;
    const { packing } = vocabulary;
    let said: unknown;
    try {
      said = packing.unpack(input.slice(1));
    } catch {
      return;
    }
    const message = outcome(() => vocabulary.parse(said), ProtocolError);
    if (!message) return;
    const again = outcome(
      () => vocabulary.parse(packing.unpack(packing.pack(message))),
      ProtocolError,
    );
    must(again?.t === message.t, "a message that was taken is refused when it is passed on");
  },
};
