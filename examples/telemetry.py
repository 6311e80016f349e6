"""The core, measured: OpenTelemetry's SDK prints what a producer and a consumer have done.

    REDIS_URL=redis://localhost:6379 python examples/telemetry.py

It needs `pip install 'resumable-stream-redis[telemetry]' opentelemetry-sdk`. Where metrics should go somewhere else,
take another exporter, such as the one of `opentelemetry-exporter-otlp`; nothing else changes.
"""

import asyncio
import os
from uuid import uuid4

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from redis.asyncio import Redis

from resumable_stream import StreamConsumer, StreamProducer
from resumable_stream.telemetry import Telemetry


async def main() -> None:
    stream_id = f"answer-{uuid4()}"
    async with (
        Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")) as redis,
        StreamProducer(redis) as producer,
        StreamConsumer(redis) as consumer,
    ):
        Telemetry.shared().observe(producer, consumer)
        async with producer.open(stream_id) as stream:
            for word in ["Whoever", "counts", "knows", "."]:
                await stream.send(word)
        async for _ in consumer.events(stream_id):
            pass


if __name__ == "__main__":
    provider = MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())])
    metrics.set_meter_provider(provider)
    asyncio.run(main())
    provider.shutdown()  # what is measured since the last export goes out
