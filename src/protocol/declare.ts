/**
 * How a control message is declared: as a notice, which has no answer, or as a request with its reply. The types of a link, its
 * vocabularies and the table of pending requests follow from the declarations.
 *
 * @example
 * const Draining = notice("draining", {});
 * const Status = request("status", {}, { freeCores: index });
 * const toNode = vocabularyOf([Status], [Draining]);
 * const toClient = vocabularyOf([Draining], [Status]);
 */
import { type Static, type TObject, type TProperties, type TUnsafe, Type } from "@sinclair/typebox";
import { Failed } from "./failed.ts";
import { count } from "./fields.ts";
import type { Packing } from "./frames/framing.ts";
import { Vocabulary } from "./vocabulary.ts";

/** A message without an answer. */
export interface Notice<Name extends string = string, Fields extends object = object> {
  readonly name: Name;
  readonly schema: TUnsafe<{ t: Name } & Fields>;
}

/** A message that the peer answers once, with the reply or with {@link Failed}; the answer has the request's id. */
export interface Request<
  Name extends string = string,
  Fields extends object = object,
  Answer extends object = object,
> {
  readonly name: Name;
  readonly schema: TUnsafe<{ t: Name; id: number } & Fields>;
  readonly reply: TUnsafe<{ t: `${Name}-reply`; id: number } & Answer>;
}

export type Declared = Notice | Request;

/** A message as it travels. */
export type MessageOf<Message extends Declared> = Static<Message["schema"]>;
/** What a message says, without what names it. */
export type FieldsOf<Message extends Declared> = Omit<MessageOf<Message>, "t" | "id">;
/** What the answer to a request says, without what names it. */
export type ReplyOf<Asked extends Request> = Omit<Static<Asked["reply"]>, "t" | "id">;

type Requests<Messages extends readonly Declared[]> = Extract<Messages[number], Request>;
/** All that one side of a link may say: its own messages, and answers to the requests of the other side. */
export type Speech<Says extends readonly Declared[], Hears extends readonly Declared[]> =
  | MessageOf<Says[number]>
  | Static<Requests<Hears>["reply"]>
  | (Requests<Hears> extends never ? never : Failed);

export function notice<const Name extends string, Fields extends TProperties>(
  name: Name,
  fields: Fields,
): Notice<Name, Static<TObject<Fields>>> {
  return { name, schema: Type.Unsafe(Type.Object({ t: Type.Literal(name), ...fields })) };
}

/**
 * A reply that has a field `last` may come in parts, each a message of its own: only the last part says true there. A long list
 * travels so.
 */
export function request<
  const Name extends string,
  Fields extends TProperties,
  Answer extends TProperties,
>(
  name: Name,
  fields: Fields,
  reply: Answer,
): Request<Name, Static<TObject<Fields>>, Static<TObject<Answer>>> {
  return {
    name,
    schema: Type.Unsafe(Type.Object({ t: Type.Literal(name), id: count, ...fields })),
    reply: Type.Unsafe(Type.Object({ t: Type.Literal(`${name}-reply`), id: count, ...reply })),
  };
}

/** Whether a message is one of these. */
export function isOneOf<Messages extends readonly Declared[]>(
  messages: Messages,
  message: { t: string },
): message is MessageOf<Messages[number]> {
  return messages.some(({ name }) => name === message.t);
}

export const isRequest = (message: Declared): message is Request => "reply" in message;

/** What the side of a link that says `says` may send to one that says `hears`. */
export function vocabularyOf<
  const Says extends readonly Declared[],
  const Hears extends readonly Declared[],
>(says: Says, hears: Hears, packing?: Packing): Vocabulary<Speech<Says, Hears>> {
  const answers = hears.filter(isRequest).map(({ reply }) => reply);
  const failed = answers.length > 0 ? [Failed] : [];
  return new Vocabulary([...says.map(({ schema }) => schema), ...answers, ...failed], packing);
}
