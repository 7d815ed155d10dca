/**
 * Requests over a control connection: the table of pending requests, and the table of handlers that answer. Replies are
 * found by the id of their request, never by their order.
 */
import { type Clock, SYSTEM_CLOCK } from "../base/clock.ts";
import { type LimitReached, RfaasError } from "../base/errors.ts";
import { reasonOf, onAbort } from "../base/waiting.ts";
import type { Declared, FieldsOf, MessageOf, ReplyOf, Request } from "../protocol/declare.ts";
import type { ErrorRecord, Failed } from "../protocol/failed.ts";

/** A message on the wire: its kind and, where it has one, its id. */
interface Message {
  t: string;
  id?: number;
}

/** How one request is asked. */
export interface AskOptions<Asked extends Request> {
  /** Whether the wait counts for `onWaiting`, and so keeps the process alive. Default true. */
  holds?: boolean;
  /** Ends the wait with its reason. */
  signal?: AbortSignal | undefined;
  /** Ends the wait with {@link RequestTimeout}. Default: none. */
  timeoutMs?: number;
  /** Called with the request's id when `signal` or `timeoutMs` has ended its wait, so that the asker can tell the peer. */
  onAbandon?: (id: number) => void;
  /** Makes the error of a request that the peer has failed. Default: as the table does. */
  failure?: (failed: Failed) => Error;
  /** Called with each reply as it is read, before the peer's next message is. */
  onReply?: (reply: ReplyOf<Asked>) => void;
  /** Called with a reply that comes after the wait has been ended. */
  onLate?: (reply: ReplyOf<Asked>) => void;
}

/** No answer came in time. The peer may still carry out the request. */
export class RequestTimeout extends RfaasError {
  override readonly name = "RequestTimeout";
  readonly code = "RFAAS_REQUEST_TIMEOUT";
  readonly request: string;
  readonly timeoutMs: number;
  constructor(request: string, timeoutMs: number) {
    super(
      `the peer did not answer the request "${request}" within ${timeoutMs} ms; see its log, and try again`,
    );
    this.request = request;
    this.timeoutMs = timeoutMs;
  }
}

/** The peer has failed the request. A handler throws it to answer with a code of its own. */
export class RequestRefused extends RfaasError {
  override readonly name = "RequestRefused";
  readonly code: string;
  /** The thrown error, where it came from a function's module. */
  readonly record: ErrorRecord | undefined;
  /** Of RFAAS_TOKEN_LIMIT, where the peer says it. */
  readonly limit: LimitReached | undefined;
  constructor(
    code: string,
    message: string,
    options: ErrorOptions & {
      record?: ErrorRecord | undefined;
      limit?: LimitReached | undefined;
    } = {},
  ) {
    super(message, options);
    this.code = code;
    this.record = options.record;
    this.limit = options.limit;
  }
}

interface Waiting {
  readonly reply: string;
  /** False once the wait has ended. */
  waits: boolean;
  answered(message: Message): void;
  end(error: Error): void;
}

export interface RequestsOptions {
  /** Sends a message. Throws when the connection is over. */
  send(message: Message): void;
  /** Makes the error of a request that the peer has failed. Default: {@link RequestRefused}. */
  failure?: (failed: Failed) => Error;
  /** The first wait begins (true), or the last one has ended (false). */
  onWaiting?(waiting: boolean): void;
  /** The clock of timeouts. Default: the machine's. */
  clock?: Clock;
}

/** The requests that one side of a connection has asked, by id. */
export class Requests {
  readonly #options: RequestsOptions;
  readonly #pending = new Map<number, Waiting>();
  readonly #clock: Clock;
  #nextId = 1;
  #held = 0;

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  /**
   * Asks, and resolves with the reply; of one that comes in parts, with the last part.
   *
   * @throws {RequestTimeout} no answer came within `timeoutMs`
   */
  async ask<Asked extends Request>(
    request: Asked,
    fields: FieldsOf<Asked>,
    options: AskOptions<Asked> = {},
  ): Promise<ReplyOf<Asked>> {
    const { holds = true, signal, timeoutMs, onAbandon, onReply, onLate } = options;
    const { failure = this.#options.failure ?? refused } = options;
    if (signal?.aborted) throw reasonOf(signal);
    using _ = holds ? this.hold() : null;
    const id = this.#nextId++;
    const settled = Promise.withResolvers<ReplyOf<Asked>>();
    const waiting: Waiting = {
      reply: `${request.name}-reply`,
      waits: true,
      answered: (message) => {
        const last = message.t === "failed" || (message as { last?: boolean }).last !== false;
        if (last) this.#pending.delete(id);
        if (message.t === "failed") return settled.reject(failure(message as Failed));
        // Checked by its schema as it came in.
        const reply = message as unknown as ReplyOf<Asked>;
        if (!waiting.waits) return onLate?.(reply);
        onReply?.(reply);
        if (last) settled.resolve(reply);
      },
      end: settled.reject,
    };
    const abandon = (error: unknown): void => {
      waiting.waits = false;
      if (!onLate) this.#pending.delete(id);
      onAbandon?.(id);
      settled.reject(error);
    };
    const unhear = signal && onAbort(signal, () => abandon(reasonOf(signal)));
    const overdue =
      timeoutMs === undefined
        ? undefined
        : this.#clock.after(timeoutMs, () => abandon(new RequestTimeout(request.name, timeoutMs)));
    this.#pending.set(id, waiting);
    try {
      this.#options.send({ t: request.name, id, ...fields });
      return await settled.promise;
    } catch (error) {
      if (waiting.waits) this.#pending.delete(id);
      throw error;
    } finally {
      unhear?.();
      overdue?.clear();
    }
  }

  /** Counts as a wait until it is disposed of. */
  hold(): Disposable {
    if (this.#held++ === 0) this.#options.onWaiting?.(true);
    return {
      [Symbol.dispose]: () => {
        if (--this.#held === 0) this.#options.onWaiting?.(false);
      },
    };
  }

  /** Whether the message was an answer; drops an answer whose request is no longer pending. */
  heard<Heard extends Message>(
    message: Heard,
  ): message is Extract<Heard, { t: `${string}-reply` | "failed" }> {
    if (message.t !== "failed" && !message.t.endsWith("-reply")) return false;
    const waiting = this.#pending.get(message.id!);
    if (waiting && (message.t === "failed" || message.t === waiting.reply))
      waiting.answered(message);
    return true;
  }

  /** The connection is over: all pending requests reject with the error. */
  end(error: Error): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const waiting of pending) waiting.end(error);
  }
}

const refused = ({ code, message, error: record, limit }: Failed): RequestRefused =>
  new RequestRefused(code, message, { record, limit });

/** The way to answer one request: once, at any time. What comes after that is dropped. */
export interface Answer<Asked extends Request> {
  /** Of a reply in parts, each part. */
  send(reply: ReplyOf<Asked>): void;
  fail(code: string, message: string, error?: ErrorRecord, limit?: LimitReached): void;
}

/**
 * The handler of each message, by name. The handler of a request returns the reply, or a promise of it; or nothing, and then it
 * answers itself. An `RfaasError` that it throws is the answer, too.
 */
export type Handlers<Messages extends readonly Declared[], From = void> = {
  readonly [Message in Messages[number] as Message["name"]]: Message extends Request
    ? (
        message: MessageOf<Message>,
        from: From,
        answer: Answer<Message>,
      ) => ReplyOf<Message> | Promise<ReplyOf<Message> | void> | void
    : (message: MessageOf<Message>, from: From) => void;
};

export interface AnsweringOptions<From> {
  send(message: Message, to: From): void;
  /** Makes the answer when a handler has thrown something other than an `RfaasError`; undefined to throw it again. */
  explain?(error: unknown): { code: string; message: string } | undefined;
}

/**
 * Returns a function to call with each message that comes: it calls the handler and sends the answer. Notices have no answer.
 */
export function answering<const Messages extends readonly Declared[], From = void>(
  messages: Messages,
  handlers: Handlers<Messages, From>,
  { send, explain }: AnsweringOptions<From> = { send() {} },
): (message: MessageOf<Messages[number]>, from: From) => void {
  const requests = messages.filter((message) => "reply" in message).map(({ name }) => name);
  return answeringTo(new Set(requests), handlers, { send, ...(explain && { explain }) });
}

/** As {@link answering}, where the declarations are not at hand: `requests` are the names of those that want an answer. */
export function answeringTo<const Messages extends readonly Declared[], From = void>(
  requests: ReadonlySet<string>,
  handlers: Handlers<Messages, From>,
  { send, explain }: AnsweringOptions<From>,
): (message: MessageOf<Messages[number]>, from: From) => void {
  type Handle = (message: Message, from: From, answer?: Answer<Request>) => unknown;
  // The table is typed message by message; to look one up by the name that came loses which.
  const table = handlers as Record<string, Handle>;
  return (message: Message, from) => {
    const { t, id } = message;
    const handle = table[t]!;
    if (!requests.has(t)) return void handle(message, from);
    const answer = new OneAnswer(t, id!, (reply) => send(reply, from));
    const fail = (error: unknown): void => {
      const why = error instanceof RfaasError ? error : explain?.(error);
      if (!why) throw error;
      const { record, limit } = error instanceof RequestRefused ? error : {};
      answer.fail(String(why.code), why.message, record, limit);
    };
    try {
      const reply = handle(message, from, answer);
      if (reply instanceof Promise) void reply.then((later) => later && answer.send(later), fail);
      else if (reply) answer.send(reply);
    } catch (error) {
      fail(error);
    }
  };
}

class OneAnswer implements Answer<Request> {
  readonly #name: string;
  readonly #id: number;
  readonly #send: (message: Message) => void;
  #open = true;

  constructor(name: string, id: number, send: (message: Message) => void) {
    this.#name = name;
    this.#id = id;
    this.#send = send;
  }

  send(reply: object & { last?: boolean }): void {
    if (!this.#open) return;
    this.#open = reply.last === false;
    this.#send({ t: `${this.#name}-reply`, id: this.#id, ...reply });
  }

  fail(code: string, message: string, error?: ErrorRecord, limit?: LimitReached): void {
    if (!this.#open) return;
    this.#open = false;
    const more = { ...(error ? { error } : {}), ...(limit ? { limit } : {}) };
    const failed = { t: "failed", id: this.#id, code, message, ...more };
    this.#send(failed);
  }
}
