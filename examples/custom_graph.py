"""The chat app with a LangGraph graph of your own.

    export REDIS_URL=redis://localhost:6379 DATABASE_URL=postgresql://localhost/chat OPENAI_API_KEY=...
    uvicorn examples.custom_graph:app

The graph is compiled without a checkpointer: the app keeps its threads in PostgreSQL.
"""

from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, SystemMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from resumable_stream.app import create_app

HOURS = {"saturday": "10 to 16", "sunday": "closed"}


class State(MessagesState):
    hours: str


def look_up(state: State) -> dict[str, str]:
    """A step without a model: nothing of it is streamed."""
    question = str(state["messages"][-1].content).lower()
    return {"hours": next((hours for day, hours in HOURS.items() if day in question), "9 to 18")}


def build_graph(model: BaseChatModel) -> CompiledStateGraph[Any, Any, Any, Any]:
    async def answer(state: State) -> dict[str, list[AIMessage]]:
        """The step whose text the reader gets, token by token."""
        facts = SystemMessage(f"You answer for a bike shop. Its hours on the day in question: {state['hours']}.")
        return {"messages": [await model.ainvoke([facts, *state["messages"]])]}

    graph = StateGraph(State)
    graph.add_node("look_up", look_up)
    graph.add_node("answer", answer)
    graph.add_edge(START, "look_up")
    graph.add_edge("look_up", "answer")
    return graph.compile()


app = create_app(agent=build_graph(init_chat_model("openai:gpt-5-mini")))
