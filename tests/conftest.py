import gc
import random
import socket

import numpy as np
import pytest
import torch

pytest_plugins = ['tests.ceiling']


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_program(monkeypatch):
    """No tool that a test called says where the next test computes."""
    monkeypatch.setattr('clasp_mm.utils.device._announced', [])
    monkeypatch.delenv('LOCAL_RANK', raising=False)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test may reach the network: what it needs is made here or given as a file."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
                '127.0.0.1', '::1', 'localhost'):
            raise RuntimeError(f'a test tried to reach {address}')
        return connect(self, address)

    monkeypatch.setattr(socket.socket, 'connect', local_only)


@pytest.fixture(autouse=True)
def plain_configs(monkeypatch):
    """The layout of the configs that a run writes, and puts into each checkpoint, takes long."""
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **_: (text, True))


@pytest.fixture
def said(monkeypatch):
    """Messages of MMEngine's loggers, as they come."""
    from mmengine.logging import MMLogger
    messages = []
    monkeypatch.setattr(MMLogger, 'callHandlers',
                        lambda _, record: messages.append(record.getMessage()))
    return messages


def pytest_collection_finish(session):
    """What was imported stays: MMEngine collects garbage for every data set that it builds."""
    gc.freeze()
