"""What the scripted model knows: Markdown about this library, and the words that lead there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One subject, in pieces that an answer is put together from.

    Attributes:
        title: the heading.
        words: lower-case words of a prompt that mean this subject.
        lead: the first paragraph.
        points: items of a list.
        code: an example, with the language of its fence.
        more: a closing paragraph, with a link.
    """

    title: str
    words: frozenset[str]
    lead: str
    points: tuple[str, ...]
    code: tuple[str, str]
    more: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


OVERVIEW = Topic(
    "A stream that survives",
    _words("overview hello hi hey library resumable introduction streaming survive survives demo"),
    "A model's answer is written **token by token** into a log in Redis, and every browser reads "
    "from that log. So the answer belongs to nobody's connection: close the tab, come back, and it "
    "goes on where you left it.",
    (
        "*Producer*: drains any async iterator into the log.",
        "*Consumer*: yields events after a cursor, old ones first, then live ones.",
        "*Sub-app*: chat routes, threads and this page, mounted into your own app.",
    ),
    (
        "python",
        (
            "producer = StreamProducer(redis)\n"
            'await producer.run("run-42", tokens())\n'
            "\n"
            "async with StreamConsumer(redis) as consumer:\n"
            '    async for event in consumer.events("run-42"):\n'
            "        print(event.data)"
        ),
    ),
    "Reload this page while I am writing to see it work. The browser's side needs nothing but an "
    "[EventSource](https://developer.mozilla.org/en-US/docs/Web/API/EventSource).",
)

RESUME = Topic(
    "Resuming after a lost connection",
    _words(
        "resume resuming reload refresh reconnect connection lost dropped offline cursor last id "
        "replay gap reset tab continue"
    ),
    "Every event has an id of the form `<generation>-<sequence>`. A browser sends the last one it "
    "has seen in the `Last-Event-ID` header, and gets **strictly what comes after it**: first what "
    "is in the log already, then what is written from now on.",
    (
        "The sequence is dense, so a missing event shows by arithmetic.",
        "Lost events are told as `gap`, never passed over in silence.",
        "A cursor that the log cannot place gets `reset`, and the stream from its first event.",
    ),
    (
        "http",
        ("GET /v1/chat/stream?thread_id=... HTTP/1.1\nAccept: text/event-stream\nLast-Event-ID: 1790000000000-17"),
    ),
    "After the last event the answer to a reconnect is `204`, which tells an EventSource to stop; "
    "the rule is in the "
    "[HTML standard](https://html.spec.whatwg.org/multipage/server-sent-events.html).",
)

STOP = Topic(
    "Stopping an answer",
    _words("stop stopping cancel cancelled abort interrupt button end halt"),
    "Stop is a *durable wish*: any process may write it, and the one that runs the model sees it "
    "at once, or with its next heartbeat at the latest, even while the model is silent.",
    (
        "The source is closed before the terminal event is written.",
        "Every reader gets `cancelled` and then `end`, once.",
        "The partial answer **stays in the thread**, marked as stopped.",
        "A second stop does no harm.",
    ),
    ("python", 'stopped = await producer.cancel("run-42")'),
    "A reader that goes away never stops a run: only a person who asks for it does.",
)

CRASH = Topic(
    "When a process dies",
    _words(
        "crash crashes kill killed die dies dead lease heartbeat deploy restart sigterm sigkill "
        "zombie fenced producer failure"
    ),
    "A producer proves with a **lease** that it is alive, and renews it while its "
    "source is silent. When the lease has run out without a terminal event, whoever "
    "notices writes one: `lost`.",
    (
        "All readers, now and later, see the same terminal event.",
        "A process that wakes up late is *fenced*: Redis refuses its ids, for they are too small.",
        "The thread takes a new message after the lease at the latest.",
    ),
    ("python", "producer = StreamProducer(redis, lease=10.0, retention=900.0)  # seconds"),
    "You can try it: kill this server in the middle of an answer, and start it again.",
)

LOG = Topic(
    "How the log is kept in Redis",
    _words("redis valkey log stream streams key keys xadd memory ttl expire storage entries cluster script lua"),
    "One stream is **two keys** with the same hash tag: a Redis Stream with the events and a small "
    "hash with the state. Both have a time to live from the moment they exist.",
    (
        "Ids are chosen by the producer, so a retried append cannot be written twice.",
        "While one round trip is under way, tokens gather; the next one takes them all.",
        "An expired stream is not born again by a late append: the producer is told.",
    ),
    ("text", "{run-42}:log     stream   1790000000000-1, 1790000000000-2, ..."),
    "What a Redis Stream is, and what it costs, is told in the "
    "[Redis documentation](https://redis.io/docs/latest/develop/data-types/streams/).",
)

VIEWERS = Topic(
    "Many viewers",
    _words(
        "viewer viewers many several fan fanout scale connections slow phone users performance "
        "fast speed load thousand readers"
    ),
    "Connections to Redis grow neither with viewers nor with streams: one process needs **three**, "
    "whether one person reads or a thousand do.",
    (
        "A frame is encoded once for all viewers of a process.",
        "A slow viewer falls back on the log and is waited for by nobody.",
        "A storm of reconnects costs one read of the history, not one each.",
    ),
    (
        "python",
        (
            "async with StreamConsumer(redis) as consumer:  # one for the process\n"
            "    response = EventStreamResponse(consumer, stream_id)"
        ),
    ),
    "Open this thread in a second tab: both show the same text, each at its own pace.",
)

MOUNT = Topic(
    "Mounting it into your app",
    _words(
        "mount mounting fastapi starlette django app server integrate install pip use python asgi "
        "uvicorn lifespan deploy production"
    ),
    "The sub-app is a plain ASGI application. Mount it under any path; your app only has to enter "
    "its **lifespan**, because a mount does not do that by itself.",
    (
        "`REDIS_URL` and `DATABASE_URL` come from the environment or from `.env`.",
        "`identify` names the owner of a request, and every route checks it.",
        "Your own compiled LangGraph graph can take the place of the agent.",
    ),
    (
        "python",
        (
            "from resumable_stream.app import create_app\n"
            "\n"
            "assistant = create_app()\n"
            "app = FastAPI(lifespan=assistant.lifespan)\n"
            'app.mount("/assistant", assistant)'
        ),
    ),
    "The routes are described, and can be tried, on the page `docs` beside this one. More about "
    "mounting is in the [Starlette documentation](https://www.starlette.io/routing/).",
)

HISTORY = Topic(
    "History and the live stream",
    _words(
        "history thread threads postgres postgresql database checkpoint langgraph conversation "
        "chat messages message agent model memory tool tools title"
    ),
    "A conversation is kept in **PostgreSQL** by LangGraph's checkpointer; the stream in "
    "Redis only carries the answer that is being written. Together they are the whole conversation, "
    "never doubled and never with a hole.",
    (
        "While a run is active, the history ends with the question.",
        "The history has the answer *before* the stream says `end`.",
        "Only the agent's own text is streamed: no summaries, titles or tool-internal tokens.",
    ),
    (
        "json",
        ('[\n  {"type": "human", "content": "Hello"},\n  {"type": "ai", "content": "Hi there"}\n]'),
    ),
    "LangGraph's own words for this are told in its "
    "[documentation](https://docs.langchain.com/oss/python/langgraph/persistence).",
)

TOPICS = (OVERVIEW, RESUME, STOP, CRASH, LOG, VIEWERS, MOUNT, HISTORY)
